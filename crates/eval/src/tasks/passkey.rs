//! The paper's task (arXiv 2412.06198, section 4): a number hidden among thousands of words that say nothing.
//!
//! The prompt is a plain completion that ends where the number must follow. Sample `i` of `n` hides it at depth
//! `(i + 1/2) / n`, so that every part of the context is asked for. Dense and sparse answer the same prompts.

use crate::statistics::{Proportion, mean};
use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Request};
use runtime::sampling::Sampling;
use serde::Serialize;

const INSTRUCTION: &str = "Somewhere in the long text below stands a pass key. Find it and remember it: it will be asked \
    for at the end.\n\n";
const FILLER: &str = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
const QUESTION: &str = "\nWhat is the pass key? The pass key is";

/// New tokens an answer may take: five digits, one token each in the worst tokenizer, and what stands around them.
pub const ANSWER_TOKENS: usize = 12;

/// What to ask.
#[derive(Clone, Debug)]
pub struct Passkey {
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Prompts of each length.
    pub samples: usize,
    /// Attention modes to pair; each answers every prompt.
    pub attention: Vec<AttentionMode>,
    /// Recall target of sparse attention.
    pub recall: f32,
    /// Seed of the numbers.
    pub seed: u64,
}

impl Default for Passkey {
    fn default() -> Self {
        Self {
            lengths: vec![2048, 4096, 8192],
            samples: 50,
            attention: vec![AttentionMode::Dense, AttentionMode::Sparse],
            recall: Request::default().recall,
            seed: 0,
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
#[derive(Clone, Debug, Serialize)]
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
    /// Mean time to first token.
    pub ttft_ms: f64,
}

/// How often a mode answered what dense answered on the same prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Prompt length.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Share of prompts with the same number in both answers, or none in either.
    pub agreement: f64,
    /// Prompts.
    pub n: usize,
    /// Wilson 95% interval.
    pub ci95: [f64; 2],
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
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
    /// Time to first token.
    pub ttft_ms: f64,
}

impl Passkey {
    /// Asks everything. `done` hears each answer as it comes.
    ///
    /// # Errors
    /// When there is nothing to ask, a length is beyond the model's context, or the engine refuses.
    pub fn run(&self, model: &mut impl Completer, done: &mut dyn FnMut(&Sample)) -> Result<Outcome, EvalError> {
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
        let mut samples = Vec::new();
        for &length in &self.lengths {
            for sample in 0..self.samples {
                let depth = (sample as f64 + 0.5) / self.samples as f64;
                let key = key(self.seed, length, sample);
                let limit = length.min(model.max_context().saturating_sub(ANSWER_TOKENS));
                let prompt = prompt(model, limit, depth, &key)?;
                for &attention in &self.attention {
                    let answer = self.ask(model, &prompt, attention)?;
                    let right = first_number(&answer.text) == Some(&key);
                    samples.push(Sample {
                        length,
                        sample,
                        attention,
                        depth,
                        prompt_tokens: prompt.len(),
                        key: key.clone(),
                        answer: answer.text,
                        right,
                        density: answer.stats.density,
                        ttft_ms: answer.stats.ttft_ms,
                    });
                    done(&samples[samples.len() - 1]);
                }
            }
        }
        Ok(self.summarise(samples))
    }

    fn ask(
        &self,
        model: &mut impl Completer,
        prompt: &[u32],
        attention: AttentionMode,
    ) -> Result<runtime::request::Generation, EvalError> {
        let request = Request {
            max_tokens: ANSWER_TOKENS,
            attention,
            recall: self.recall,
            sampling: Sampling::Greedy,
            stop_at_eos: true,
        };
        Ok(model.complete(prompt, &request)?)
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
                    ttft_ms: mean(of(attention).map(|s| s.ttft_ms)),
                });
                if attention != AttentionMode::Dense && self.attention.contains(&AttentionMode::Dense) {
                    let pairs = of(attention).zip(of(AttentionMode::Dense));
                    let same = Proportion::of(pairs.map(|(a, b)| first_number(&a.answer) == first_number(&b.answer)));
                    let (agreed, ci95) = (same.fraction(), same.wilson95());
                    agreement.push(Agreement { length, attention, agreement: agreed, n: same.n(), ci95 });
                }
            }
        }
        Outcome { rows, agreement, samples }
    }
}

/// A passkey prompt of at most `limit` tokens, short of it by less than one filler: the number `key` at `depth` (0 to 1).
///
/// # Errors
/// When `limit` does not hold even the question, or the tokenizer refuses.
pub fn prompt(model: &impl Completer, limit: usize, depth: f64, key: &str) -> Result<Vec<u32>, EvalError> {
    let encode = |fillers: usize| {
        let before = (fillers as f64 * depth).round() as usize;
        // A line of its own: inside a line of filler, small models overlook it with dense attention too.
        let needle = format!("\nThe pass key is {key}. Remember it. {key} is the pass key.\n");
        let (before, after) = (FILLER.repeat(before), FILLER.repeat(fillers - before));
        model.encode(&[INSTRUCTION, before.trim_end(), &needle, after.trim_end(), QUESTION].concat())
    };
    let least = encode(0)?.len();
    if least > limit {
        return Err(EvalError::PromptTooShort { limit, least });
    }
    // Every filler costs the same number of tokens but for the places where texts meet, so the guess is nearly right.
    let per_filler = ((encode(16)?.len() - encode(8)?.len()) / 8).max(1);
    let mut fillers = (limit - least) / per_filler;
    let mut ids = encode(fillers)?;
    while ids.len() > limit {
        fillers -= 1;
        ids = encode(fillers)?;
    }
    loop {
        let longer = encode(fillers + 1)?;
        if longer.len() > limit {
            return Ok(ids);
        }
        (fillers, ids) = (fillers + 1, longer);
    }
}

/// Five digits that depend on nothing but the arguments.
fn key(seed: u64, length: usize, sample: usize) -> String {
    let mut z = seed ^ ((length as u64) << 32) ^ sample as u64;
    for _ in 0..2 {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (10_000 + z % 90_000).to_string()
}

/// The first run of digits.
fn first_number(text: &str) -> Option<&str> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = &text[start..];
    Some(&digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;

    #[test]
    fn prompts_fill_the_length_and_hold_the_key_at_its_depth() {
        let model = ScriptedModel::default();
        for limit in [350, 1000, 1003, 5000] {
            for depth in [0.01, 0.5, 0.99] {
                let ids = prompt(&model, limit, depth, "12345").unwrap();
                assert!(ids.len() <= limit && ids.len() + FILLER.len() > limit, "{} of {limit}", ids.len());
                let text = ScriptedModel::text(&ids);
                assert_eq!(text.matches("12345").count(), 2);
                let fillers = text.matches(FILLER.trim_end()).count();
                let before = text[..text.find("12345").unwrap()].matches(FILLER.trim_end()).count();
                assert_eq!(before, (fillers as f64 * depth).round() as usize);
            }
        }
        assert!(matches!(prompt(&model, 20, 0.5, "1"), Err(EvalError::PromptTooShort { .. })));
    }

    #[test]
    fn scores_and_pairs() {
        // The scripted model finds the number when dense, but only in the second half of the prompt when sparse.
        let mut model = ScriptedModel::default();
        let task = Passkey { lengths: vec![3000, 6000], samples: 4, ..Passkey::default() };
        let mut heard = 0;
        let outcome = task.run(&mut model, &mut |_| heard += 1).unwrap();
        assert_eq!((heard, outcome.samples.len(), outcome.rows.len(), outcome.agreement.len()), (16, 16, 4, 2));
        let scores: Vec<f64> = outcome.rows.iter().map(|row| row.score).collect();
        assert_eq!(scores, [1.0, 0.5, 1.0, 0.5]);
        assert!(outcome.agreement.iter().all(|a| a.agreement == 0.5 && a.n == 4));
        let keys: std::collections::BTreeSet<_> = outcome.samples.iter().map(|s| &s.key).collect();
        assert_eq!(keys.len(), 8, "each prompt has its own number");
        let json = serde_json::to_value(&outcome.rows[0]).unwrap();
        for key in ["length", "attention", "score", "n", "ci95", "density", "ttft_ms"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_asked() {
        let mut model = ScriptedModel::default();
        let mut run = |task: Passkey| task.run(&mut model, &mut |_| {}).unwrap_err();
        let base = Passkey { lengths: vec![1000], samples: 1, ..Passkey::default() };
        assert!(matches!(run(Passkey { lengths: vec![], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Passkey { samples: 0, ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Passkey { attention: vec![], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Passkey { lengths: vec![99_999], ..base }), EvalError::BeyondContext { .. }));
    }

    #[test]
    fn the_first_number_counts() {
        assert_eq!(first_number(" 71432. Remember 5"), Some("71432"));
        assert_eq!(first_number("is 12"), Some("12"));
        assert_eq!(first_number("none"), None);
    }
}
