//! An answer on its way to a client.

use crate::error::ApiError;
use crate::observed::Observed;
use crate::state::State;
use runtime::engine::service::{Heard, Ticket};
use runtime::request::{Event, Generation, Request};
use std::ops::ControlFlow;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What comes of an answer.
pub(crate) enum Said {
    Text(String),
    Ended(Box<Result<Generation, ApiError>>),
}

/// An answer under way. Dropped, as where a client goes away, it is cancelled.
pub(crate) struct Answering {
    said: UnboundedReceiver<Said>,
    ticket: Ticket,
    /// Of the requests that may be there at a time.
    _place: OwnedSemaphorePermit,
}

impl Answering {
    /// Asks for it.
    pub fn ask(state: &State, place: OwnedSemaphorePermit, prompt: Vec<u32>, request: Request) -> Self {
        let (sender, said) = unbounded_channel();
        let mut observed = Observed::new(state.metrics.clone(), &request);
        let ticket = state.service.submit(prompt, request, move |heard| {
            observed.hears(&heard);
            let said = match heard {
                Heard::Event(Event::Text(piece)) => Said::Text(piece.into()),
                Heard::Ended(ended) => {
                    let ended = ended.map_err(|error| ApiError::from(error).counted());
                    observed.ends(&ended);
                    Said::Ended(Box::new(ended))
                }
                Heard::Began { .. } | Heard::Event(_) => return ControlFlow::Continue(()),
            };
            match sender.send(said) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        Self { said, ticket, _place: place }
    }

    /// What comes next. It ends with [`Said::Ended`].
    pub async fn next(&mut self) -> Said {
        let gone = || Said::Ended(Box::new(Err(ApiError::gone())));
        self.said.recv().await.unwrap_or_else(gone)
    }

    /// The whole answer.
    pub async fn end(mut self) -> Result<Generation, ApiError> {
        loop {
            if let Said::Ended(ended) = self.next().await {
                return *ended;
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ticket.cancel();
    }
}
