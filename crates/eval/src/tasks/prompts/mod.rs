//! Prompts of one's own: are they answered right, and as dense attention answers them?

mod line;

use super::pairs::{Pair, Pairs};
use super::question::{mean_kept, predict};
use super::score::{Match, plain};
use crate::samples::{Key, Samples};
use crate::statistics::{Proportion, mean};
use crate::{Completer, EvalError};
use attention::receipt::Kept;
use runtime::request::{AttentionMode, Goal, Request};
use serde::{Deserialize, Serialize};

pub use line::{OwnPrompt, Text, read};

/// What to ask.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// The prompts.
    pub prompts: Vec<OwnPrompt>,
    /// What makes an answer right.
    pub matching: Match,
    /// New tokens an answer may take.
    pub max_tokens: usize,
    /// Attention modes to pair; each answers every prompt.
    pub attention: Vec<AttentionMode>,
    /// What sparse attention aims at.
    pub goal: Goal,
    /// Seed of the rows that say what attention was kept; nothing draws none.
    pub receipt: Option<u64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// One for each attention mode.
    pub rows: Vec<Row>,
    /// One for each mode that ran beside dense.
    pub agreement: Vec<Agreement>,
    /// One for each prompt and mode.
    pub samples: Vec<Sample>,
}

/// One attention mode.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Attention mode.
    pub attention: AttentionMode,
    /// Share of right answers among the prompts with known ones; nothing where there are none.
    pub score: Option<f64>,
    /// Prompts with known answers.
    pub n: usize,
    /// Wilson 95% interval of the score.
    pub ci95: Option<[f64; 2]>,
    /// Mean density.
    pub density: f64,
    /// Attention kept, by the receipts of the prompts, mean; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Mean time to first token.
    pub ttft_ms: f64,
}

/// How often a mode answered what dense answered.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Attention mode.
    pub attention: AttentionMode,
    /// Share of all prompts with the same answer; case and white space do not count.
    pub agreement: f64,
    /// Prompts.
    pub n: usize,
    /// Wilson 95% interval.
    pub ci95: [f64; 2],
    /// Prompts with known answers that only dense answered right.
    pub lost: usize,
    /// Prompts with known answers that only this mode answered right.
    pub won: usize,
    /// McNemar's exact test of lost against won.
    pub p_value: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Line of the prompt in its file, from 1.
    pub line: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// What would be right; nothing where nobody knows.
    pub answers: Vec<String>,
    /// What the model wrote.
    pub answer: String,
    /// Whether that is right; nothing where nobody knows.
    pub right: Option<bool>,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Attention kept, by a receipt; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Time to first token.
    pub ttft_ms: f64,
}

impl Prompts {
    /// Asks everything that `kept` has no answer of; `done` hears each answer, in order.
    ///
    /// # Errors
    /// When there is nothing to ask or nothing to say about the answers, a prompt and its answer are longer than the context, a
    /// prompt cannot have the goal, an answer cannot be kept, or the engine refuses.
    pub fn run(
        &self,
        model: &mut impl Completer,
        kept: &mut Samples,
        done: &mut dyn FnMut(&Sample),
    ) -> Result<Outcome, EvalError> {
        self.check()?;
        // All of them first: a prompt that is too long, or too short for a budget, is told before hours of others.
        let encoded = self.prompts.iter().map(|prompt| self.encode(model, prompt)).collect::<Result<Vec<_>, _>>()?;
        let mut samples = Vec::new();
        for (prompt, ids) in self.prompts.iter().zip(&encoded) {
            for &attention in &self.attention {
                let key = Key {
                    task: "prompts".into(),
                    length: ids.len(),
                    index: prompt.line,
                    seed: 0,
                    mode: attention.to_string(),
                };
                let sample = kept.once(key, || self.ask(model, prompt, ids, attention))?;
                done(&sample);
                samples.push(sample);
            }
        }
        Ok(self.summarise(samples))
    }

    fn check(&self) -> Result<(), EvalError> {
        for (empty, what) in [
            (self.prompts.is_empty(), "the list of prompts"),
            (self.max_tokens == 0, "the number of new tokens"),
            (self.attention.is_empty(), "the list of attention modes"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        let is_known = self.prompts.iter().any(|prompt| !prompt.answers.is_empty());
        let is_paired = self.attention.contains(&AttentionMode::Dense) && self.attention.len() > 1;
        if is_known || is_paired { Ok(()) } else { Err(EvalError::NothingToCompare) }
    }

    fn encode(&self, model: &impl Completer, prompt: &OwnPrompt) -> Result<Vec<u32>, EvalError> {
        let line = prompt.line;
        let ids = match &prompt.text {
            Text::Plain(text) => model.encode(text),
            Text::Chat(messages) => model.encode_chat(messages, ""),
        };
        let ids = ids.map_err(|source| EvalError::Prompt { line, source })?;
        let (tokens, max_context) = (ids.len(), model.max_context());
        // The last new token needs no place.
        if tokens + self.max_tokens - 1 > max_context {
            return Err(EvalError::PromptTooLong { line, tokens, max_tokens: self.max_tokens, max_context });
        }
        for &attention in &self.attention {
            let checked = model.check_goal(&self.request(attention), tokens);
            checked.map_err(|source| EvalError::Prompt { line, source })?;
        }
        Ok(ids)
    }

    fn request(&self, attention: AttentionMode) -> Request {
        let (max_tokens, goal, receipt) = (self.max_tokens, self.goal, self.receipt);
        Request { max_tokens, attention, goal, receipt, ..Request::default() }
    }

    fn ask(
        &self,
        model: &mut impl Completer,
        prompt: &OwnPrompt,
        ids: &[u32],
        attention: AttentionMode,
    ) -> Result<Sample, EvalError> {
        let answer = predict(model, ids, &self.request(attention))?;
        let is_known = !prompt.answers.is_empty();
        Ok(Sample {
            line: prompt.line,
            attention,
            prompt_tokens: answer.prompt_tokens,
            answers: prompt.answers.clone(),
            right: is_known.then(|| self.matching.holds(&answer.answer, &prompt.answers)),
            answer: answer.answer,
            density: answer.density,
            kept: answer.kept,
            ttft_ms: answer.ttft_ms,
        })
    }

    fn summarise(&self, samples: Vec<Sample>) -> Outcome {
        let of = |attention| samples.iter().filter(move |sample| sample.attention == attention);
        let row = |&attention: &AttentionMode| {
            let right = Proportion::of(of(attention).filter_map(|sample| sample.right));
            Row {
                attention,
                score: (right.n() > 0).then(|| right.fraction()),
                n: right.n(),
                ci95: (right.n() > 0).then(|| right.wilson95()),
                density: mean(of(attention).map(|sample| sample.density)),
                kept: mean_kept(of(attention).map(|sample| sample.kept)),
                ttft_ms: mean(of(attention).map(|sample| sample.ttft_ms)),
            }
        };
        let beside_dense = |&attention: &AttentionMode| {
            let pairs = Pairs::of(of(attention).zip(of(AttentionMode::Dense)).map(|(own, dense)| Pair {
                same: plain(&own.answer) == plain(&dense.answer),
                right: own.right.zip(dense.right),
            }));
            Agreement {
                attention,
                agreement: pairs.same.fraction(),
                n: pairs.same.n(),
                ci95: pairs.same.wilson95(),
                lost: pairs.lost,
                won: pairs.won,
                p_value: pairs.p_value,
            }
        };
        let is_paired = self.attention.contains(&AttentionMode::Dense);
        let others = self.attention.iter().filter(|mode| is_paired && **mode != AttentionMode::Dense);
        Outcome {
            rows: self.attention.iter().map(row).collect(),
            agreement: others.map(beside_dense).collect(),
            samples,
        }
    }
}

#[cfg(test)]
mod tests;
