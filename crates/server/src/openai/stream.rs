//! Answers as they come: server-sent events.

use crate::answering::{Answering, Said};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use runtime::request::Generation;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// How an API writes the parts of a streamed answer.
pub(super) trait Chunks: Send + 'static {
    /// What comes before the first text.
    fn begin(&self) -> Option<Value>;
    /// More text.
    fn text(&self, piece: &str) -> Value;
    /// How it ended, and what it took where that was asked for.
    fn end(&self, generation: &Generation) -> Vec<Value>;
}

/// An answer still under way, and what is to be sent of it first.
struct Sending<C> {
    chunks: C,
    /// Nothing once it ended.
    answering: Option<Answering>,
    ready: VecDeque<Event>,
}

/// The response that sends an answer as it comes.
pub(super) fn response(answering: Answering, chunks: impl Chunks) -> Response {
    let ready = chunks.begin().into_iter().map(event).collect();
    let sending = Sending { chunks, answering: Some(answering), ready };
    let events = unfold(sending, |mut sending| async {
        let next = sending.next().await?;
        Some((Ok::<_, Infallible>(next), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl<C: Chunks> Sending<C> {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        match self.answering.as_mut()?.next().await {
            Said::Text(piece) => Some(event(self.chunks.text(&piece))),
            Said::Ended(ended) => {
                self.answering = None;
                let last = match *ended {
                    Ok(generation) => self.chunks.end(&generation),
                    // The status has been sent already.
                    Err(error) => vec![error.as_json()],
                };
                self.ready = last.into_iter().map(event).chain([Event::default().data("[DONE]")]).collect();
                self.ready.pop_front()
            }
        }
    }
}

fn event(value: Value) -> Event {
    Event::default().data(value.to_string())
}
