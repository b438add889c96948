//! What a client gets.

use super::request::ResponsesRequest;
use crate::error::ApiError;
use crate::random;
use crate::sparse_attention::SparseAttention;
use crate::state::now;
use crate::tools::{AnswerBlocks, Block, Kind};
use runtime::request::{FinishReason, Generation};
use serde_json::{Value, json};

/// What is said of an answer beside its text.
pub(super) struct Answer {
    /// The response as it begins.
    begun: Value,
    pub blocks: AnswerBlocks,
}

impl Answer {
    pub fn new(model: &str, asked: &ResponsesRequest, blocks: AnswerBlocks) -> Self {
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
            "parallel_tool_calls": asked.tools.parallel(),
            "previous_response_id": null,
            "store": false,
            "temperature": asked.temperature.unwrap_or(1.0),
            "text": { "format": { "type": "text" } },
            "tool_choice": asked.tools.tool_choice.clone().unwrap_or_else(|| json!("auto")),
            "tools": asked.tools.tools.clone().unwrap_or_else(|| json!([])),
            "top_p": asked.top_p.unwrap_or(1.0),
            "truncation": "disabled",
            "usage": null,
            "metadata": {},
        });
        Self { begun, blocks }
    }

    /// The response before there is anything of it.
    pub fn begun(&self) -> Value {
        self.begun.clone()
    }

    /// The response, once all blocks are there.
    pub fn whole(&self, generation: &Generation) -> Value {
        let mut whole = self.begun();
        let status = status(generation);
        whole["status"] = json!(status);
        if status == "incomplete" {
            whole["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        let items = self.blocks.all().iter().enumerate();
        whole["output"] = items.map(|(index, block)| item(block, self.status_of(index, status))).collect();
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

    /// The status of an item that ended. Where the answer was cut short, its last one was.
    pub fn status_of<'s>(&self, index: usize, last: &'s str) -> &'s str {
        if index + 1 == self.blocks.all().len() { last } else { "completed" }
    }
}

/// A block as it is, of this status.
pub(super) fn item(block: &Block, status: &str) -> Value {
    let (id, content) = (item_id(block), &block.content);
    match &block.kind {
        Kind::Text => {
            let parts = json!([text_part(content)]);
            json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": parts })
        }
        Kind::Call(tool) => {
            let call_id = format!("call_{}", block.id);
            json!({ "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": tool, "arguments": content })
        }
    }
}

/// Its id as an item; a call has another one, by which its output is known.
pub(super) fn item_id(block: &Block) -> String {
    let beginning = if block.kind == Kind::Text { "msg" } else { "fc" };
    format!("{beginning}_{}", block.id)
}

/// What a message holds.
pub(super) fn text_part(text: &str) -> Value {
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
