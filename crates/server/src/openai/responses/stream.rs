//! The events of a streamed response.

use super::response::{Answer, content, status};
use crate::answering::Piece;
use crate::error::ApiError;
use crate::events::{Tell, named};
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

    fn numbered(&mut self, mut event: Value) -> Event {
        event["sequence_number"] = json!(self.told);
        self.told += 1;
        named(&event)
    }

    /// An event of the one part of the one message.
    fn of_part(&self, kind: &str, fields: [(&str, Value); 1]) -> Value {
        let mut event = json!({ "type": kind, "item_id": self.answer.item_id, "output_index": 0, "content_index": 0 });
        for (field, value) in fields {
            event[field] = value;
        }
        event
    }

    fn of_text(&self, kind: &str, field: &str, text: &str) -> Value {
        let mut event = self.of_part(kind, [(field, json!(text))]);
        event["logprobs"] = json!([]);
        event
    }
}

impl Tell for Telling {
    fn begin(&mut self) -> Vec<Event> {
        let begun = self.answer.begun();
        let item = self.answer.item("in_progress", json!([]));
        let events = [
            json!({ "type": "response.created", "response": begun }),
            json!({ "type": "response.in_progress", "response": begun }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": item }),
            self.of_part("response.content_part.added", [("part", content(""))]),
        ];
        events.map(|event| self.numbered(event)).into()
    }

    fn text(&mut self, _: usize, piece: &Piece) -> Vec<Event> {
        let event = self.of_text("response.output_text.delta", "delta", &piece.text);
        vec![self.numbered(event)]
    }

    fn end(&mut self, _: usize, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let events = match ended {
            Ok(generation) => {
                let (status, whole) = (status(&generation), self.answer.whole(&generation));
                let item = whole["output"][0].clone();
                vec![
                    self.of_text("response.output_text.done", "text", &generation.text),
                    self.of_part("response.content_part.done", [("part", content(&generation.text))]),
                    json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
                    json!({ "type": format!("response.{status}"), "response": whole }),
                ]
            }
            Err(error) => vec![json!({ "type": "response.failed", "response": self.answer.failed(&error) })],
        };
        events.into_iter().map(|event| self.numbered(event)).collect()
    }
}
