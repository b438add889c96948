//! What every task of prompts and answers does: write a prompt, let the model answer, score the answer.

use crate::statistics::mean;
use crate::{Completer, EvalError};
use attention::receipt::Kept;
use runtime::request::Request;
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
    /// Attention kept, by a receipt; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Time to first token.
    pub ttft_ms: f64,
}

/// Lets the model answer.
pub(super) fn predict(model: &mut impl Completer, prompt: &[u32], request: &Request) -> Result<Prediction, EvalError> {
    let answer = model.complete(prompt, request)?;
    Ok(Prediction {
        prompt_tokens: prompt.len(),
        answer: answer.text,
        density: answer.stats.density,
        kept: answer.stats.receipt.map(|receipt| receipt.all),
        ttft_ms: answer.stats.ttft_ms.ok_or(EvalError::NoToken)?,
    })
}

/// Attention kept, mean of receipts; nothing where there are none.
pub(super) fn mean_kept(receipts: impl IntoIterator<Item = Option<Kept>>) -> Option<f64> {
    let kept: Vec<f64> = receipts.into_iter().flatten().map(|receipt| receipt.kept).collect();
    (!kept.is_empty()).then(|| mean(kept))
}
