//! Answers as they come, as server-sent events.

use crate::answering::{Answering, Piece, Said};
use crate::error::ApiError;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use runtime::request::Generation;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// What an API says of answers, event by event.
pub(crate) trait Tell: Send + 'static {
    /// Before the first text.
    fn begin(&mut self) -> Vec<Event>;
    /// More text of the answer of this number.
    fn text(&mut self, of: usize, piece: &Piece) -> Vec<Event>;
    /// Its last. An error comes behind a status that has been sent already, and ends all answers.
    fn end(&mut self, of: usize, ended: Result<Generation, ApiError>) -> Vec<Event>;
}

/// An event without a name, as OpenAI's completions have them.
pub(crate) fn plain(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

/// An event that is named by its `type`, as Anthropic's messages and OpenAI's responses have them.
pub(crate) fn named(value: &Value) -> Event {
    Event::default().event(value["type"].as_str().unwrap_or_default()).data(value.to_string())
}

/// Answers still under way, and what is to be sent of them first.
struct Sending<T> {
    teller: T,
    /// Nothing once they ended.
    answering: Option<Answering>,
    /// How many did not end yet.
    left: usize,
    ready: VecDeque<Event>,
}

/// The response that sends answers as they come.
pub(crate) fn response(answering: Answering, mut teller: impl Tell) -> Response {
    let ready = teller.begin().into();
    let left = answering.answers();
    let events = unfold(Sending { teller, answering: Some(answering), left, ready }, |mut sending| async {
        let next = sending.next().await?;
        Some((Ok::<_, Infallible>(next), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl<T: Tell> Sending<T> {
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let events = match self.answering.as_mut()?.next().await {
                (of, Said::Text(piece)) => self.teller.text(of, &piece),
                (of, Said::Ended(ended)) => {
                    self.left = self.left.saturating_sub(1);
                    if self.left == 0 || ended.is_err() {
                        self.answering = None;
                    }
                    self.teller.end(of, *ended)
                }
            };
            self.ready.extend(events);
        }
        self.ready.pop_front()
    }
}
