//! Answers as they come: server-sent events.

use super::api::{Answer, Api};
use crate::answering::{Answering, Said};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// An answer still under way, and what is to be sent of it first.
struct Sending<A> {
    api: A,
    answer: Answer,
    /// Nothing once it ended.
    answering: Option<Answering>,
    ready: VecDeque<Event>,
}

/// The response that sends an answer as it comes.
pub(super) fn response<A: Api>(answering: Answering, answer: Answer, mut api: A) -> Response {
    let ready = api.begin().into_iter().map(|choice| event(answer.part::<A>(choice))).collect();
    let sending = Sending { api, answer, answering: Some(answering), ready };
    let events = unfold(sending, |mut sending| async {
        let next = sending.next().await?;
        Some((Ok::<_, Infallible>(next), sending))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

impl<A: Api> Sending<A> {
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let parts = match self.answering.as_mut()?.next().await {
                Said::Text(piece) => {
                    let choices = self.api.text(&piece).into_iter();
                    choices.map(|choice| self.answer.part::<A>(choice)).collect()
                }
                Said::Ended(ended) => {
                    self.answering = None;
                    match *ended {
                        Ok(generation) => self.answer.last_parts(&mut self.api, &generation),
                        // The status has been sent already.
                        Err(error) => vec![error.as_json()],
                    }
                }
            };
            self.ready.extend(parts.into_iter().map(event));
            if self.answering.is_none() {
                self.ready.push_back(Event::default().data("[DONE]"));
            }
        }
        self.ready.pop_front()
    }
}

fn event(value: Value) -> Event {
    Event::default().data(value.to_string())
}
