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
    pub fn of(generation: &Generation) -> Self {
        let RunStats { prompt_tokens, cached_tokens, .. } = generation.stats;
        let completion_tokens = generation.tokens.len();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
            sparse_attention: SparseAttention::of(&generation.stats),
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
