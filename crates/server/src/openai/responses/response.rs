//! What a client gets.

use super::request::ResponsesRequest;
use crate::error::ApiError;
use crate::random;
use crate::sparse_attention::SparseAttention;
use crate::state::now;
use runtime::request::{FinishReason, Generation};
use serde_json::{Value, json};

/// What is said of an answer beside its text.
pub(super) struct Answer {
    /// Of the message in it.
    pub item_id: String,
    /// The response as it begins.
    begun: Value,
}

impl Answer {
    pub fn new(model: &str, asked: &ResponsesRequest) -> Self {
        let begun = json!({
            "id": random::name("resp_"),
            "object": "response",
            "created_at": now(),
            "status": "in_progress",
            "error": null,
            "incomplete_details": null,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": model,
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "store": false,
            "temperature": asked.temperature.unwrap_or(1.0),
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_p": asked.top_p.unwrap_or(1.0),
            "truncation": "disabled",
            "usage": null,
            "metadata": {},
        });
        Self { item_id: random::name("msg_"), begun }
    }

    /// The response before there is anything of it.
    pub fn begun(&self) -> Value {
        self.begun.clone()
    }

    /// The response.
    pub fn whole(&self, generation: &Generation) -> Value {
        let mut whole = self.begun();
        let status = status(generation);
        whole["status"] = json!(status);
        if status == "incomplete" {
            whole["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        whole["output"] = json!([self.item(status, json!([content(&generation.text)]))]);
        whole["usage"] = usage(generation);
        whole
    }

    /// The response that ended with an error.
    pub fn failed(&self, error: &ApiError) -> Value {
        let mut failed = self.begun();
        failed["status"] = json!("failed");
        failed["error"] = json!({ "code": "server_error", "message": error.message() });
        failed
    }

    /// The message in it.
    pub fn item(&self, status: &str, content: Value) -> Value {
        json!({ "id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content })
    }
}

/// What a message holds.
pub(super) fn content(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// Whether it came to its end.
pub(super) fn status(generation: &Generation) -> &'static str {
    match generation.finish_reason {
        FinishReason::Length | FinishReason::Cancelled => "incomplete",
        FinishReason::End | FinishReason::Stop => "completed",
    }
}

fn usage(generation: &Generation) -> Value {
    let (read, written) = (generation.stats.prompt_tokens, generation.tokens.len());
    json!({
        "input_tokens": read,
        "input_tokens_details": { "cached_tokens": generation.stats.cached_tokens },
        "output_tokens": written,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": read + written,
        "sparse_attention": SparseAttention::of(&generation.stats),
    })
}
