//! The events of a streamed response.

use super::response::{Answer, item, item_id, status, text_part};
use crate::answering::Piece;
use crate::error::ApiError;
use crate::events::{Tell, named};
use crate::tools::{Block, Change, Kind, What};
use axum::response::sse::Event;
use runtime::request::Generation;
use serde_json::{Value, json};

/// Numbers events as it tells them.
pub(super) struct Telling {
    answer: Answer,
    told: u64,
}

impl Telling {
    pub fn of(answer: Answer) -> Self {
        Self { answer, told: 0 }
    }

    fn numbered(&mut self, events: Vec<Value>) -> Vec<Event> {
        let numbered = |mut event: Value| {
            event["sequence_number"] = json!(self.told);
            self.told += 1;
            named(&event)
        };
        events.into_iter().map(numbered).collect()
    }

    /// Those of changes; an item that ends is of the status that it has in the whole response.
    fn of_changes(&self, changes: Vec<Change>, last_status: &str) -> Vec<Value> {
        let of_change = |Change { block: index, what }| {
            let block = &self.answer.blocks.all()[index];
            match what {
                What::Begins => begins(block, index),
                What::More(more) => vec![more_of(block, index, &more)],
                What::Ends => ends(block, index, self.answer.status_of(index, last_status)),
            }
        };
        changes.into_iter().flat_map(of_change).collect()
    }
}

/// An event of an item, with these fields of its own.
fn of_item(kind: &str, block: &Block, index: usize, mut event: Value) -> Value {
    event["type"] = json!(kind);
    event["item_id"] = json!(item_id(block));
    event["output_index"] = json!(index);
    event
}

fn begins(block: &Block, index: usize) -> Vec<Value> {
    let mut begun = item(block, "in_progress");
    let (field, nothing) = if block.kind == Kind::Text { ("content", json!([])) } else { ("arguments", json!("")) };
    begun[field] = nothing;
    let mut events = vec![json!({ "type": "response.output_item.added", "output_index": index, "item": begun })];
    if block.kind == Kind::Text {
        let fields = json!({ "content_index": 0, "part": text_part("") });
        events.push(of_item("response.content_part.added", block, index, fields));
    }
    events
}

fn more_of(block: &Block, index: usize, more: &str) -> Value {
    match &block.kind {
        Kind::Text => {
            let fields = json!({ "content_index": 0, "delta": more, "logprobs": [] });
            of_item("response.output_text.delta", block, index, fields)
        }
        Kind::Call(_) => of_item("response.function_call_arguments.delta", block, index, json!({ "delta": more })),
    }
}

fn ends(block: &Block, index: usize, status: &str) -> Vec<Value> {
    let content = &block.content;
    let mut events = match &block.kind {
        Kind::Text => {
            let text = json!({ "content_index": 0, "text": content, "logprobs": [] });
            let part = json!({ "content_index": 0, "part": text_part(content) });
            vec![
                of_item("response.output_text.done", block, index, text),
                of_item("response.content_part.done", block, index, part),
            ]
        }
        Kind::Call(tool) => {
            let fields = json!({ "name": tool, "arguments": content });
            vec![of_item("response.function_call_arguments.done", block, index, fields)]
        }
    };
    events.push(json!({ "type": "response.output_item.done", "output_index": index, "item": item(block, status) }));
    events
}

impl Tell for Telling {
    fn begin(&mut self) -> Vec<Event> {
        let begun = self.answer.begun();
        let events = ["response.created", "response.in_progress"];
        self.numbered(events.map(|kind| json!({ "type": kind, "response": begun })).into())
    }

    fn text(&mut self, _: usize, piece: &Piece) -> Vec<Event> {
        let changes = self.answer.blocks.push(&piece.text);
        // The last item does not end here.
        let events = self.of_changes(changes, "in_progress");
        self.numbered(events)
    }

    fn end(&mut self, _: usize, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let events = match ended {
            Ok(generation) => {
                let changes = self.answer.blocks.finish();
                let status = status(&generation);
                let mut events = self.of_changes(changes, status);
                events
                    .push(json!({ "type": format!("response.{status}"), "response": self.answer.whole(&generation) }));
                events
            }
            Err(error) => vec![json!({ "type": "response.failed", "response": self.answer.failed(&error) })],
        };
        self.numbered(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::AnswerBlocks;

    #[test]
    fn texts_and_calls_are_items_of_one_response() {
        let asked = serde_json::from_value(json!({ "input": "x" })).unwrap();
        let blocks = AnswerBlocks::of_calls(&["now"]);
        let mut telling = Telling::of(Answer::new("model", &asked, blocks));
        let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        let mut changes = telling.answer.blocks.push(&format!("I look.\n{call}\n{call}"));
        changes.extend(telling.answer.blocks.finish());
        let events = telling.of_changes(changes, "incomplete");
        let text = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done"];
        let call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done"];
        let expected = [&text[..], &["content_part.done", "output_item.done"], &call, &["output_item.done"], &call];
        let expected = expected.concat().into_iter().chain(["output_item.done"]);
        assert!(
            events
                .iter()
                .map(|event| event["type"].as_str().unwrap())
                .eq(expected.map(|kind| format!("response.{kind}")))
        );
        let indices: Vec<_> = events.iter().map(|event| event["output_index"].as_u64().unwrap()).collect();
        assert_eq!(indices, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        let added = events.iter().filter(|event| event["type"] == "response.output_item.added");
        assert!(added.map(|event| &event["item"]).all(|item| item["content"] == json!([]) || item["arguments"] == ""));
        let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
        let statuses: Vec<_> = done.map(|event| event["item"]["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["completed", "completed", "incomplete"]);
    }
}
