//! Answers as they come, as server-sent events.

use crate::answering::{Answering, Said};
use crate::error::ApiError;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use runtime::request::Generation;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// What an API says of an answer, event by event.
pub(crate) trait Tell: Send + 'static {
    /// Before the first text.
    fn begin(&mut self) -> Vec<Event>;
    /// More text.
    fn text(&mut self, piece: &str) -> Vec<Event>;
    /// The last. An error comes behind a status that has been sent already.
    fn end(&mut self, ended: Result<Generation, ApiError>) -> Vec<Event>;
}

/// An event without a name, as OpenAI's completions have them.
pub(crate) fn plain(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

/// An event that is named by its `type`, as Anthropic's messages and OpenAI's responses have them.
pub(crate) fn named(value: &Value) -> Event {
    Event::default().event(value["type"].as_str().unwrap_or_default()).data(value.to_string())
}

/// An answer still under way, and what is to be sent of it first.
struct Sending<T> {
    teller: T,
    /// Nothing once it ended.
    answering: Option<Answering>,
    ready: VecDeque<Event>,
}

/// The response that sends an answer as it comes.
pub(crate) fn response(answering: Answering, mut teller: impl Tell) -> Response {
    let ready = teller.begin().into();
    let events = unfold(Sending { teller, answering: Some(answering), ready }, |mut sending| async {
        let next = sending.next().await?;
        Some((Ok::<_, Infallible>(next), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl<T: Tell> Sending<T> {
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let events = match self.answering.as_mut()?.next().await {
                Said::Text(piece) => self.teller.text(&piece),
                Said::Ended(ended) => {
                    self.answering = None;
                    self.teller.end(*ended)
                }
            };
            self.ready.extend(events);
        }
        self.ready.pop_front()
    }
}
