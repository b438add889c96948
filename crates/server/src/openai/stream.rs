//! The events of a streamed completion.

use super::api::{Answer, Api};
use crate::error::ApiError;
use crate::events::{Tell, plain};
use axum::response::sse::Event;
use runtime::request::Generation;

/// Tells an answer part by part.
pub(super) struct Telling<A> {
    pub api: A,
    pub answer: Answer,
}

impl<A: Api> Tell for Telling<A> {
    fn begin(&mut self) -> Vec<Event> {
        self.api.begin().into_iter().map(|choice| plain(&self.answer.part::<A>(choice))).collect()
    }

    fn text(&mut self, piece: &str) -> Vec<Event> {
        self.api.text(piece).into_iter().map(|choice| plain(&self.answer.part::<A>(choice))).collect()
    }

    fn end(&mut self, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let parts = match ended {
            Ok(generation) => self.answer.last_parts(&mut self.api, &generation),
            Err(error) => vec![error.as_json()],
        };
        parts.iter().map(plain).chain([Event::default().data("[DONE]")]).collect()
    }
}
