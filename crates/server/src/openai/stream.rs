//! Answers as they come: server-sent events.

use super::answer::{Answer, Api};
use crate::answering::{Answering, Said};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// An answer still under way, and what is to be sent of it first.
struct Sending {
    answer: Answer,
    /// Nothing once it ended.
    answering: Option<Answering>,
    ready: VecDeque<Event>,
}

/// The response that sends an answer as it comes.
pub(super) fn response<A: Api>(answering: Answering, answer: Answer) -> Response {
    let ready = A::begin().into_iter().map(|choice| event(answer.part::<A>(choice))).collect();
    let sending = Sending { answer, answering: Some(answering), ready };
    let events = unfold(sending, |mut sending| async {
        let next = sending.next::<A>().await?;
        Some((Ok::<_, Infallible>(next), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl Sending {
    async fn next<A: Api>(&mut self) -> Option<Event> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        match self.answering.as_mut()?.next().await {
            Said::Text(piece) => Some(event(self.answer.part::<A>(A::text(&piece)))),
            Said::Ended(ended) => {
                self.answering = None;
                let last = match *ended {
                    Ok(generation) => self.answer.last_parts::<A>(&generation),
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
