//! The events of a streamed message.

use super::error::as_json;
use super::response::{Answer, tool_use};
use crate::answering::Piece;
use crate::error::ApiError;
use crate::events::{Tell, named};
use crate::tools::{Block, Change, Kind, What};
use axum::response::sse::Event;
use runtime::request::Generation;
use serde_json::{Value, json};

impl Tell for Answer {
    fn begin(&mut self) -> Vec<Event> {
        [json!({ "type": "message_start", "message": self.begun() }), json!({ "type": "ping" })]
            .iter()
            .map(named)
            .collect()
    }

    fn text(&mut self, _: usize, piece: &Piece) -> Vec<Event> {
        let changes = self.blocks.push(&piece.text);
        self.told(changes).iter().map(named).collect()
    }

    fn end(&mut self, _: usize, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let events = match ended {
            Ok(generation) => {
                let changes = self.blocks.finish();
                let mut events = self.told(changes);
                events.extend([self.ended(&generation), json!({ "type": "message_stop" })]);
                events
            }
            Err(error) => vec![as_json(&error)],
        };
        events.iter().map(named).collect()
    }
}

impl Answer {
    fn told(&self, changes: Vec<Change>) -> Vec<Value> {
        changes.into_iter().map(|change| event(self.blocks.all(), change)).collect()
    }
}

/// The event of a change of one of `blocks`.
fn event(blocks: &[Block], Change { block: index, what }: Change) -> Value {
    let block = &blocks[index];
    match (what, &block.kind) {
        (What::Begins, kind) => {
            let begun = match kind {
                Kind::Text => json!({ "type": "text", "text": "" }),
                Kind::Call(tool) => tool_use(block, tool, json!({})),
            };
            json!({ "type": "content_block_start", "index": index, "content_block": begun })
        }
        (What::More(more), kind) => {
            let delta = match kind {
                Kind::Text => json!({ "type": "text_delta", "text": more }),
                Kind::Call(_) => json!({ "type": "input_json_delta", "partial_json": more }),
            };
            json!({ "type": "content_block_delta", "index": index, "delta": delta })
        }
        (What::Ends, _) => json!({ "type": "content_block_stop", "index": index }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::AnswerBlocks;

    #[test]
    fn texts_and_calls_are_blocks_of_one_message() {
        let mut blocks = AnswerBlocks::of_calls(&["now"]);
        let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        let mut changes = blocks.push(&format!("I look.\n{call}\n{call}"));
        changes.extend(blocks.finish());
        let events: Vec<Value> = changes.into_iter().map(|change| event(blocks.all(), change)).collect();
        let kinds = ["content_block_start", "content_block_delta", "content_block_stop"];
        assert!(events.iter().map(|event| event["type"].as_str().unwrap()).eq([kinds; 3].concat()));
        assert!(events.iter().map(|event| event["index"].as_u64().unwrap()).eq([0, 0, 0, 1, 1, 1, 2, 2, 2]));
        assert_eq!(events[0]["content_block"], json!({ "type": "text", "text": "" }));
        assert_eq!(events[1]["delta"], json!({ "type": "text_delta", "text": "I look.\n" }));
        let [first, second] = [3, 6].map(|n| &events[n]["content_block"]);
        assert_eq!([&first["type"], &first["name"], &first["input"]], [&json!("tool_use"), &json!("now"), &json!({})]);
        assert_ne!(first["id"], second["id"]);
        assert_eq!(events[7]["delta"], json!({ "type": "input_json_delta", "partial_json": "{}" }));
    }
}
