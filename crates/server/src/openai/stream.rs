//! The events of a streamed completion.

use super::api::{Answer, Api};
use crate::answering::Piece;
use crate::error::ApiError;
use crate::events::{Tell, plain};
use axum::response::sse::Event;
use runtime::request::Generation;
use serde_json::Value;

/// Tells choices part by part.
pub(super) struct Telling<A> {
    apis: Vec<A>,
    answer: Answer,
    /// Those that ended, the first choice first once it did.
    ended: Vec<Generation>,
}

impl<A: Api> Telling<A> {
    pub fn new(apis: Vec<A>, answer: Answer) -> Self {
        Self { apis, answer, ended: Vec::new() }
    }

    fn parts(&self, choices: impl IntoIterator<Item = Value>) -> Vec<Event> {
        choices.into_iter().map(|choice| plain(&self.answer.part::<A>(choice))).collect()
    }
}

fn done() -> Event {
    Event::default().data("[DONE]")
}

impl<A: Api> Tell for Telling<A> {
    fn begin(&mut self) -> Vec<Event> {
        let choices: Vec<Value> = self.apis.iter_mut().filter_map(A::begin).collect();
        self.parts(choices)
    }

    fn text(&mut self, of: usize, piece: &Piece) -> Vec<Event> {
        let choices = self.apis[of].text(piece);
        self.parts(choices)
    }

    fn end(&mut self, of: usize, ended: Result<Generation, ApiError>) -> Vec<Event> {
        let generation = match ended {
            Ok(generation) => generation,
            Err(error) => return vec![plain(&error.as_json()), done()],
        };
        let choices = self.apis[of].end(generation.finish_reason);
        let mut events = self.parts(choices);
        self.ended.insert(if of == 0 { 0 } else { self.ended.len() }, generation);
        if self.ended.len() == self.apis.len() {
            events.extend(self.answer.usage_part::<A>(&self.ended).as_ref().map(plain));
            events.push(done());
        }
        events
    }
}
