//! What a client gets.

use crate::random;
use crate::sparse_attention::SparseAttention;
use crate::state::State;
use crate::tools::{AnswerBlocks, Block, Kind};
use runtime::request::{FinishReason, Generation};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is said of an answer beside its text.
pub(super) struct Answer {
    pub state: Arc<State>,
    pub prompt_tokens: usize,
    /// Asked for; the context may have had less room.
    pub max_tokens: usize,
    pub stop_sequences: Vec<String>,
    pub blocks: AnswerBlocks,
}

impl Answer {
    /// The message before there is anything of it: a stream begins with that.
    pub fn begun(&self) -> Value {
        self.message(json!([]), Value::Null, Value::Null, usage(self.prompt_tokens, 0, 0))
    }

    /// The message.
    pub fn whole(&mut self, generation: &Generation) -> Value {
        self.blocks.read(&generation.text);
        let [reason, sequence] = self.stopped(generation);
        let content = self.blocks.all().iter().map(content_block).collect();
        let mut message = self.message(content, reason, sequence, usage_of(generation));
        message["sparse_attention"] = json!(SparseAttention::of(&generation.stats));
        message
    }

    /// How it ended, behind the text of a stream.
    pub fn ended(&self, generation: &Generation) -> Value {
        let [reason, sequence] = self.stopped(generation);
        json!({
            "type": "message_delta",
            "delta": { "stop_reason": reason, "stop_sequence": sequence },
            "usage": usage_of(generation),
            "sparse_attention": SparseAttention::of(&generation.stats),
        })
    }

    fn message(&self, content: Value, stop_reason: Value, stop_sequence: Value, usage: Value) -> Value {
        json!({
            "id": random::name("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self.state.engine().model_name(),
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "usage": usage,
        })
    }

    /// Why it ended, and with which of the texts that end it.
    fn stopped(&self, generation: &Generation) -> [Value; 2] {
        let reason = match generation.finish_reason {
            FinishReason::End if self.blocks.any_call() => "tool_use",
            FinishReason::End | FinishReason::Cancelled => "end_turn",
            FinishReason::Length if generation.tokens.len() < self.max_tokens => "model_context_window_exceeded",
            FinishReason::Length => "max_tokens",
            FinishReason::Stop => "stop_sequence",
        };
        let sequence = (generation.finish_reason == FinishReason::Stop).then(|| self.stop_sequence(generation));
        [json!(reason), json!(sequence.flatten())]
    }

    /// It stands in the tokens behind the text; where it is a special token, nothing does.
    fn stop_sequence(&self, generation: &Generation) -> Option<&str> {
        let said = self.state.engine().decode(&generation.tokens);
        let rest = said.strip_prefix(&generation.text).unwrap_or_default();
        let of_text = self.stop_sequences.iter().filter(|stop| !stop.is_empty()).find(|stop| rest.starts_with(*stop));
        let only = || self.stop_sequences.first().filter(|_| self.stop_sequences.len() == 1);
        of_text.or_else(only).map(String::as_str)
    }
}

/// A block with all of its content. A call that was cut short has no arguments, since a beginning of JSON is none.
fn content_block(block: &Block) -> Value {
    match &block.kind {
        Kind::Text => json!({ "type": "text", "text": block.content }),
        Kind::Call(tool) => tool_use(block, tool, serde_json::from_str(&block.content).unwrap_or_else(|_| json!({}))),
    }
}

/// A call, with arguments.
pub(super) fn tool_use(block: &Block, tool: &str, input: Value) -> Value {
    json!({ "type": "tool_use", "id": format!("toolu_{}", block.id), "name": tool, "input": input })
}

/// Anthropic counts what was cached apart.
fn usage(prompt_tokens: usize, cached_tokens: usize, output_tokens: usize) -> Value {
    json!({
        "input_tokens": prompt_tokens - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
        "output_tokens": output_tokens,
    })
}

fn usage_of(generation: &Generation) -> Value {
    usage(generation.stats.prompt_tokens, generation.stats.cached_tokens, generation.tokens.len())
}
