//! The events of a streamed message.

use super::error::as_json;
use super::response::Answer;
use crate::answering::Piece;
use crate::error::ApiError;
use crate::events::{Tell, named};
use axum::response::sse::Event;
use runtime::request::Generation;
use serde_json::json;

impl Tell for Answer {
    fn begin(&mut self) -> Vec<Event> {
        [
            json!({ "type": "message_start", "message": self.begun() }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "ping" }),
        ]
        .iter()
        .map(named)
        .collect()
    }

    fn text(&mut self, _: usize, piece: &Piece) -> Vec<Event> {
        let delta = json!({ "type": "text_delta", "text": piece.text });
        vec![named(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))]
    }

    fn end(&mut self, _: usize, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let events = match ended {
            Ok(generation) => vec![
                json!({ "type": "content_block_stop", "index": 0 }),
                self.ended(&generation),
                json!({ "type": "message_stop" }),
            ],
            Err(error) => vec![as_json(&error)],
        };
        events.iter().map(named).collect()
    }
}
