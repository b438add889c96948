//! Numbers hidden among thousands of words that say nothing. Dense and sparse answer the same prompts.
//!
//! The prompt is a plain completion that ends where the number must follow. Sample `i` of `n` hides it at depth
//! `(i + 1/2) / n`, so that every part of the context is asked for.

use super::digits::digits;
use super::pairs::{Pair, Pairs};
use super::question::{PROMPT, Question, mean_kept, predict};
use super::{needle, passkey};
use crate::samples::{Key, Samples};
use crate::statistics::{Proportion, mean};
use crate::{Completer, EvalError};
use attention::receipt::Kept;
use runtime::request::{AttentionMode, Goal, Request};
use serde::{Deserialize, Serialize};

/// New tokens an answer may take: five digits, one token each in the worst tokenizer, and what stands around them.
pub const ANSWER_TOKENS: usize = 12;

/// What is hidden and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One number ([`passkey`]).
    Passkey,
    /// Four numbers, one of which is asked for ([`needle`]).
    Needle,
}

impl Task {
    /// As commands and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Passkey => "passkey",
            Task::Needle => "needle",
        }
    }
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Retrieval {
    /// What is hidden.
    pub task: Task,
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Prompts of each length.
    pub samples: usize,
    /// Attention modes to pair; each answers every prompt.
    pub attention: Vec<AttentionMode>,
    /// What sparse attention aims at.
    pub goal: Goal,
    /// Seed of the numbers.
    pub seed: u64,
    /// Seed of the rows that say what attention was kept; nothing draws none.
    pub receipt: Option<u64>,
}

impl Default for Retrieval {
    fn default() -> Self {
        Self {
            task: Task::Passkey,
            lengths: vec![2048, 4096, 8192],
            samples: 50,
            attention: vec![AttentionMode::Dense, AttentionMode::Sparse],
            goal: Goal::default(),
            seed: 0,
            receipt: None,
        }
    }
}

/// Everything the task found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// One for each length and attention mode.
    pub rows: Vec<Row>,
    /// One for each length and mode that ran beside dense.
    pub agreement: Vec<Agreement>,
    /// One for each prompt and mode.
    pub samples: Vec<Sample>,
}

/// Score of one attention mode at one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Prompt length asked for; prompts have up to this many tokens.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Share of right answers.
    pub score: f64,
    /// Prompts.
    pub n: usize,
    /// Wilson 95% interval of the score.
    pub ci95: [f64; 2],
    /// Mean density.
    pub density: f64,
    /// Attention kept, by the receipts of the prompts, mean; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Mean time to first token.
    pub ttft_ms: f64,
}

/// How often a mode answered what dense answered on the same prompt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agreement {
    /// Prompt length.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Share of prompts with the same number in both answers, or none in either.
    pub agreement: f64,
    /// Prompts that only dense answered right.
    pub lost: usize,
    /// Prompts that only this mode answered right.
    pub won: usize,
    /// Exact two-sided sign test (McNemar's test) of lost against won: how likely so unequal a split is by chance.
    pub p_value: f64,
    /// Prompts.
    pub n: usize,
    /// Wilson 95% interval.
    pub ci95: [f64; 2],
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Prompt length asked for.
    pub length: usize,
    /// Which prompt.
    pub sample: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Where the number stood: 0 at the beginning, 1 at the end.
    pub depth: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number.
    pub key: String,
    /// What the model wrote.
    pub answer: String,
    /// Whether the first number in the answer is the key.
    pub right: bool,
    /// Density.
    pub density: f64,
    /// Attention kept, by a receipt; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Time to first token.
    pub ttft_ms: f64,
}

impl Retrieval {
    /// Asks everything that `kept` has no answer of. `done` hears each answer, in the order of the prompts.
    ///
    /// # Errors
    /// When there is nothing to ask, a length is beyond the model's context, a prompt cannot have the goal, an answer cannot be kept,
    /// or the engine refuses.
    pub fn run(
        &self,
        model: &mut impl Completer,
        kept: &mut Samples,
        done: &mut dyn FnMut(&Sample),
    ) -> Result<Outcome, EvalError> {
        for (empty, what) in [
            (self.lengths.is_empty(), "the list of lengths"),
            (self.samples == 0, "the number of samples"),
            (self.attention.is_empty(), "the list of attention modes"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        for &length in &self.lengths {
            if length > model.max_context() {
                return Err(EvalError::BeyondContext { length, max_context: model.max_context() });
            }
        }
        let asked = self.lengths.iter().flat_map(|&length| (0..self.samples).map(move |sample| (length, sample)));
        // All of them first: a goal that one cannot have is told before the answers of the others.
        let questions = asked.clone().map(|(length, sample)| self.ask(model, kept, length, sample));
        let questions = questions.collect::<Result<Vec<_>, _>>()?;
        let mut samples = Vec::new();
        for ((length, sample), (question, prompt)) in asked.zip(&questions) {
            for &attention in &self.attention {
                let answer = kept.once(self.key(length, sample, &attention.to_string()), || {
                    let answer = predict(model, prompt, &self.request(attention))?;
                    let key = question.answers.concat();
                    Ok(Sample {
                        length,
                        sample,
                        attention,
                        depth: self.depth(sample),
                        prompt_tokens: answer.prompt_tokens,
                        right: first_number(&answer.answer) == Some(&key),
                        key,
                        answer: answer.answer,
                        density: answer.density,
                        kept: answer.kept,
                        ttft_ms: answer.ttft_ms,
                    })
                })?;
                done(&answer);
                samples.push(answer);
            }
        }
        Ok(self.summarise(samples))
    }

    /// The prompt of a sample, as text and as token ids.
    fn ask(
        &self,
        model: &impl Completer,
        kept: &mut Samples,
        length: usize,
        sample: usize,
    ) -> Result<(Question, Vec<u32>), EvalError> {
        let question = kept.once(self.key(length, sample, PROMPT), || self.question(model, length, sample))?;
        let prompt = model.encode(&question.prompt)?;
        for &attention in &self.attention {
            model.check_goal(&self.request(attention), prompt.len()).map_err(|source| EvalError::Task {
                task: self.task.name(),
                length,
                source: Box::new(source.into()),
            })?;
        }
        Ok((question, prompt))
    }

    fn request(&self, attention: AttentionMode) -> Request {
        let (max_tokens, goal, receipt) = (ANSWER_TOKENS, self.goal, self.receipt);
        Request { max_tokens, attention, goal, receipt, ..Request::default() }
    }

    fn key(&self, length: usize, index: usize, mode: &str) -> Key {
        Key { task: self.task.name().into(), length, index, seed: self.seed, mode: mode.into() }
    }

    fn depth(&self, sample: usize) -> f64 {
        (sample as f64 + 0.5) / self.samples as f64
    }

    fn question(&self, model: &impl Completer, length: usize, sample: usize) -> Result<Question, EvalError> {
        let key = digits(self.seed, length, sample);
        let limit = length.min(model.max_context().saturating_sub(ANSWER_TOKENS));
        let depth = self.depth(sample);
        let prompt = match self.task {
            Task::Passkey => passkey::prompt(model, limit, depth, &key)?,
            Task::Needle => needle::prompt(model, limit, depth, sample, &key)?,
        };
        Ok(Question { prompt, answers: vec![key] })
    }

    fn summarise(&self, samples: Vec<Sample>) -> Outcome {
        let mut rows = Vec::new();
        let mut agreement = Vec::new();
        for &length in &self.lengths {
            let of = |attention| samples.iter().filter(move |s| s.length == length && s.attention == attention);
            for &attention in &self.attention {
                let right = Proportion::of(of(attention).map(|s| s.right));
                rows.push(Row {
                    length,
                    attention,
                    score: right.fraction(),
                    n: right.n(),
                    ci95: right.wilson95(),
                    density: mean(of(attention).map(|s| s.density)),
                    kept: mean_kept(of(attention).map(|s| s.kept)),
                    ttft_ms: mean(of(attention).map(|s| s.ttft_ms)),
                });
                if attention != AttentionMode::Dense && self.attention.contains(&AttentionMode::Dense) {
                    let pairs = Pairs::of(of(attention).zip(of(AttentionMode::Dense)).map(|(own, dense)| Pair {
                        same: first_number(&own.answer) == first_number(&dense.answer),
                        right: Some((own.right, dense.right)),
                    }));
                    agreement.push(Agreement {
                        length,
                        attention,
                        agreement: pairs.same.fraction(),
                        lost: pairs.lost,
                        won: pairs.won,
                        p_value: pairs.p_value,
                        n: pairs.same.n(),
                        ci95: pairs.same.wilson95(),
                    });
                }
            }
        }
        Outcome { rows, agreement, samples }
    }
}

/// The first run of digits.
pub(super) fn first_number(text: &str) -> Option<&str> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = &text[start..];
    Some(&digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())])
}

#[cfg(test)]
mod tests;
