//! Answers as they come, as server-sent events that are named by their `type`: Anthropic's messages, OpenAI's responses.

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
    fn begin(&mut self) -> Vec<Value>;
    /// More text.
    fn text(&mut self, piece: &str) -> Value;
    /// The last. An error comes behind a status that has been sent already.
    fn end(&mut self, ended: Result<Generation, ApiError>) -> Vec<Value>;
}

/// An answer still under way, and what is to be sent of it first.
struct Sending<T> {
    teller: T,
    /// Nothing once it ended.
    answering: Option<Answering>,
    ready: VecDeque<Value>,
}

/// The response that sends an answer as it comes.
pub(crate) fn response(answering: Answering, mut teller: impl Tell) -> Response {
    let ready = teller.begin().into();
    let events = unfold(Sending { teller, answering: Some(answering), ready }, |mut sending| async {
        let next = sending.next().await?;
        let name = next["type"].as_str().unwrap_or_default().to_owned();
        Some((Ok::<_, Infallible>(Event::default().event(name).data(next.to_string())), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl<T: Tell> Sending<T> {
    async fn next(&mut self) -> Option<Value> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        match self.answering.as_mut()?.next().await {
            Said::Text(piece) => Some(self.teller.text(&piece)),
            Said::Ended(ended) => {
                self.answering = None;
                self.ready = self.teller.end(*ended).into();
                self.ready.pop_front()
            }
        }
    }
}
