//! What every task of prompts and answers does: write a prompt, let the model answer, score the answer.

use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Goal, Request};
use runtime::sampling::Sampling;
use serde::{Deserialize, Serialize};

/// `mode` of the [`Key`](crate::samples::Key) that a prompt itself is kept under.
pub(super) const PROMPT: &str = "prompt";

/// A prompt, and what answers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The prompt.
    pub prompt: String,
    /// What the answer should hold.
    pub answers: Vec<String>,
}

/// What a model answered, and what that cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// What the model wrote.
    pub answer: String,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Time to first token.
    pub ttft_ms: f64,
}

/// Lets the model answer, always by the most likely token.
pub(super) fn predict(
    model: &mut impl Completer,
    prompt: &[u32],
    max_tokens: usize,
    attention: AttentionMode,
    goal: Goal,
) -> Result<Prediction, EvalError> {
    let request = Request { max_tokens, attention, goal, sampling: Sampling::Greedy, ..Request::default() };
    let answer = model.complete(prompt, &request)?;
    Ok(Prediction {
        prompt_tokens: prompt.len(),
        answer: answer.text,
        density: answer.stats.density,
        ttft_ms: answer.stats.ttft_ms,
    })
}
