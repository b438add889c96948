//! Texts and calls of an answer, as a chat completion has them.

use crate::tools::{Block, Change, Kind, What};
use serde_json::{Value, json};

/// What a change of one of `blocks` adds to the message; nothing where it adds nothing.
pub(super) fn delta(blocks: &[Block], Change { block, what }: Change) -> Option<Value> {
    let (before, changed) = (&blocks[..block], &blocks[block]);
    let call = match (&changed.kind, what) {
        (Kind::Text, What::More(text)) => return Some(json!({ "content": text })),
        (Kind::Text, What::Begins) | (_, What::Ends) => return None,
        (Kind::Call(tool), What::Begins) => call(changed, tool, ""),
        (Kind::Call(_), What::More(json)) => json!({ "function": { "arguments": json } }),
    };
    let index = before.iter().filter(|block| block.kind != Kind::Text).count();
    let mut delta = json!({ "tool_calls": [call] });
    delta["tool_calls"][0]["index"] = json!(index);
    Some(delta)
}

/// The message of a whole answer.
pub(super) fn message(blocks: &[Block]) -> Value {
    let (mut content, mut calls) = (String::new(), Vec::new());
    for block in blocks {
        match &block.kind {
            Kind::Text => content += &block.content,
            Kind::Call(tool) => calls.push(call(block, tool, &block.content)),
        }
    }
    let content = if content.is_empty() && !calls.is_empty() { Value::Null } else { Value::from(content) };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
    }
    message
}

fn call(block: &Block, tool: &str, arguments: &str) -> Value {
    let id = format!("call_{}", block.id);
    json!({ "id": id, "type": "function", "function": { "name": tool, "arguments": arguments } })
}
