//! What an answer took, as OpenAI's API says it and with what attention did.

use crate::sparse_attention::SparseAttention;
use runtime::request::{FinishReason, Generation, RunStats};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
    sparse_attention: SparseAttention,
}

#[derive(Serialize)]
struct PromptTokensDetails {
    cached_tokens: usize,
}

impl Usage {
    /// Of answers to one prompt, which was read for the first.
    pub fn of(generations: &[Generation]) -> Self {
        let read = generations.first().map(|first| first.stats.clone()).unwrap_or_default();
        let RunStats { prompt_tokens, cached_tokens, .. } = read;
        let completion_tokens = generations.iter().map(|generation| generation.tokens.len()).sum();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
            sparse_attention: SparseAttention::of(&read),
        }
    }
}

/// By OpenAI's names.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::End | FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
    }
}
