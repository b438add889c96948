//! Writes the prompts, asks them, and scores the answers.

use super::compare::{self, Beside, Lost, Row};
use super::{Arm, Asking, Exercise, Task};
use crate::samples::{Key, Samples};
use crate::tasks::question::{PROMPT, predict};
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use attention::receipt::Kept;
use runtime::request::Request;
use serde::{Deserialize, Serialize};

/// What to ask.
pub struct Series<T: Task> {
    /// Tasks.
    pub tasks: Vec<T>,
    /// What their prompts are made of.
    pub sources: T::Sources,
    /// How the model is asked.
    pub asking: Asking,
    /// Tokens of prompt and answer together, as RULER (arXiv 2404.06654) counts them.
    pub lengths: Vec<usize>,
    /// Prompts of each task and length.
    pub samples: usize,
    /// Ways to answer; each prompt is answered in all of them.
    pub arms: Vec<Arm>,
    /// Seed of what is drawn.
    pub seed: u64,
    /// Seed of the rows that say what attention was kept; nothing draws none.
    pub receipt: Option<u64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<T> {
    /// One for each task, length and arm.
    pub rows: Vec<Row<T>>,
    /// One for each task, length and arm that ran beside dense.
    pub beside_dense: Vec<Beside<T>>,
    /// Prompts of which an arm found less than dense.
    pub lost: Vec<Lost<T>>,
    /// One for each prompt and arm.
    pub samples: Vec<Sample<T>>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample<T> {
    /// Task.
    pub task: T,
    /// Length asked for, answer included.
    pub length: usize,
    /// Which prompt.
    pub sample: usize,
    /// How it was answered.
    #[serde(flatten)]
    pub arm: Arm,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// What should stand in the answer.
    pub answers: Vec<String>,
    /// What the model wrote behind the opening of its answer.
    pub answer: String,
    /// Things found.
    pub found: usize,
    /// Things to find.
    pub of: usize,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Attention kept, by a receipt; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Time to first token.
    pub ttft_ms: f64,
}

impl<T> Sample<T> {
    /// Share of what was to find.
    pub fn score(&self) -> f64 {
        self.found as f64 / self.of as f64
    }

    /// Whether all was found.
    pub fn is_right(&self) -> bool {
        self.found == self.of
    }
}

impl<T: Task> Series<T> {
    /// How many answers there will be.
    pub fn answers(&self) -> usize {
        self.tasks.len() * self.lengths.len() * self.samples * self.arms.len()
    }

    /// Asks everything that `kept` has no answer of. `done` hears each answer, in the order of the prompts.
    ///
    /// # Errors
    /// When there is nothing to ask, a length is beyond the model's context, a prompt cannot be written or have the goal, an answer
    /// cannot be kept, or the engine refuses.
    pub fn run(
        &self,
        model: &mut impl Completer,
        kept: &mut Samples,
        done: &mut dyn FnMut(&Sample<T>),
    ) -> Result<Outcome<T>, EvalError> {
        self.check(model.max_context())?;
        // All of them first: one that cannot be written, or not be read by the goal, is told before hours of others.
        let exercises = self.exercises(model, kept)?;
        let mut samples = Vec::new();
        let prompts = self.prompts(model, &exercises)?;
        for ((task, length, sample, exercise), prompt) in exercises.iter().zip(&prompts) {
            for &arm in &self.arms {
                let key = self.key(*task, *length, *sample, &arm.to_string());
                let answer = kept.once(key, || {
                    let answer = predict(model, prompt, &self.request(*task, arm))?;
                    let (found, of) = task.found(exercise, &answer.answer);
                    Ok(Sample {
                        task: *task,
                        length: *length,
                        sample: *sample,
                        arm,
                        prompt_tokens: answer.prompt_tokens,
                        answers: exercise.answers.clone(),
                        answer: answer.answer,
                        found,
                        of,
                        density: answer.density,
                        kept: answer.kept,
                        ttft_ms: answer.ttft_ms,
                    })
                })?;
                done(&answer);
                samples.push(answer);
            }
        }
        let (rows, beside_dense) = compare::compare(&samples, &self.arms);
        Ok(Outcome { rows, beside_dense, lost: compare::lost(&samples), samples })
    }

    /// All prompts, with their task, length and number: those that `kept` has, and the others written.
    ///
    /// # Errors
    /// When one cannot be written or kept.
    pub fn exercises(
        &self,
        model: &impl Completer,
        kept: &mut Samples,
    ) -> Result<Vec<(T, usize, usize, Exercise)>, EvalError> {
        let mut exercises = Vec::new();
        let words = WordTokens::new(model);
        for &task in &self.tasks {
            for &length in &self.lengths {
                for sample in 0..self.samples {
                    let exercise = kept.once(self.key(task, length, sample, PROMPT), || {
                        let exercise = task.exercise(&words, self.asking, &self.sources, [length, sample], self.seed);
                        exercise.map_err(|source| EvalError::Task {
                            task: task.name(),
                            length,
                            source: Box::new(source),
                        })
                    })?;
                    exercises.push((task, length, sample, exercise));
                }
            }
        }
        Ok(exercises)
    }

    /// Token ids of the prompts, none of which the goal is impossible for.
    fn prompts(
        &self,
        model: &impl Completer,
        exercises: &[(T, usize, usize, Exercise)],
    ) -> Result<Vec<Vec<u32>>, EvalError> {
        let prompt = |(task, length, _, exercise): &(T, usize, usize, Exercise)| {
            let prompt = exercise.encode(model, self.asking)?;
            for &arm in &self.arms {
                model.check_goal(&self.request(*task, arm), prompt.len()).map_err(|source| EvalError::Task {
                    task: task.name(),
                    length: *length,
                    source: Box::new(source.into()),
                })?;
            }
            Ok(prompt)
        };
        exercises.iter().map(prompt).collect()
    }

    fn request(&self, task: T, arm: Arm) -> Request {
        let (max_tokens, receipt) = (task.answer_tokens(), self.receipt);
        Request {
            max_tokens,
            attention: arm.attention,
            goal: arm.goal.unwrap_or_default(),
            receipt,
            ..Request::default()
        }
    }

    fn check(&self, max_context: usize) -> Result<(), EvalError> {
        for (empty, what) in [
            (self.tasks.is_empty(), "the list of tasks"),
            (self.lengths.is_empty(), "the list of lengths"),
            (self.samples == 0, "the number of samples"),
            (self.arms.is_empty(), "the list of attention modes"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        match self.lengths.iter().find(|length| **length > max_context) {
            Some(&length) => Err(EvalError::BeyondContext { length, max_context }),
            None => Ok(()),
        }
    }

    fn key(&self, task: T, length: usize, index: usize, mode: &str) -> Key {
        Key { task: task.name().into(), length, index, seed: self.seed, mode: mode.into() }
    }
}
