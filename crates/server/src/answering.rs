//! Answers to one prompt on their way to a client.

use crate::error::ApiError;
use crate::observed::Observed;
use crate::state::State;
use runtime::engine::service::{Heard, Ticket};
use runtime::log_probabilities::SaidToken;
use runtime::request::{Event, Generation, Request};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, Instant, timeout_at};

/// More text of an answer.
pub(crate) struct Piece {
    /// Nothing where only tokens without text were left.
    pub text: String,
    /// The tokens that it begins with or goes on with, where it was asked how likely they are.
    pub tokens: Vec<SaidToken>,
}

/// What comes of an answer.
pub(crate) enum Said {
    Text(Piece),
    Ended(Box<Result<Generation, ApiError>>),
}

/// Answers under way. Dropped, as where a client goes away, they are cancelled.
pub(crate) struct Answering {
    said: UnboundedReceiver<(usize, Said)>,
    tickets: Vec<Ticket>,
    /// When it ends with an error, and how long that was at first.
    deadline: Option<(Instant, Duration)>,
}

impl Answering {
    /// Asks for one.
    ///
    /// # Errors
    /// What the engine refuses before it begins: who streams hears of it in the status, too.
    pub fn ask(
        state: &State,
        place: OwnedSemaphorePermit,
        prompt: Vec<u32>,
        request: Request,
    ) -> Result<Self, ApiError> {
        Self::ask_several(state, place, prompt, vec![request])
    }

    /// Asks for several to the same prompt, which is read for the first of them.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_several(
        state: &State,
        places: OwnedSemaphorePermit,
        prompt: Vec<u32>,
        requests: Vec<Request>,
    ) -> Result<Self, ApiError> {
        // The engine gives them back when it is done, whether or not the client reads.
        let places = Arc::new(places);
        let observed = |request: &Request| Observed::new(state.metrics.clone(), request, places.clone());
        if let Err(error) = requests.iter().try_for_each(|request| state.engine().check(&prompt, request)) {
            let error = ApiError::from(error).counted();
            requests.iter().for_each(|request| observed(request).ends(Err(&error)));
            return Err(error);
        }
        let (sender, said) = unbounded_channel();
        let mut tickets = Vec::<Ticket>::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let hear = listener(at, sender.clone(), observed(&request));
            tickets.push(match tickets.first() {
                None => state.service.submit(prompt.clone(), request, hear),
                Some(first) => state.service.submit_behind(first, prompt.clone(), request, hear),
            });
        }
        let deadline = state.options.deadline.map(|time| (Instant::now() + time, time));
        Ok(Self { said, tickets, deadline })
    }

    /// How many there are.
    pub fn answers(&self) -> usize {
        self.tickets.len()
    }

    /// What comes next, and of which answer. Each ends with [`Said::Ended`].
    pub async fn next(&mut self) -> (usize, Said) {
        let ends = |error| (0, Said::Ended(Box::new(Err(error))));
        let said = match self.deadline {
            None => self.said.recv().await,
            Some((at, time)) => match timeout_at(at, self.said.recv()).await {
                Ok(said) => said,
                Err(_) => return ends(ApiError::too_late(time)),
            },
        };
        said.unwrap_or_else(|| ends(ApiError::gone()))
    }

    /// The whole answers in their order; the first error ends all.
    pub async fn end(mut self) -> Result<Vec<Generation>, ApiError> {
        let mut ended = Vec::with_capacity(self.answers());
        while ended.len() < self.answers() {
            if let (at, Said::Ended(generation)) = self.next().await {
                ended.push((at, (*generation)?));
            }
        }
        ended.sort_by_key(|(at, _)| *at);
        Ok(ended.into_iter().map(|(_, generation)| generation).collect())
    }

    /// The whole answer, of one.
    pub async fn end_of_one(self) -> Result<Generation, ApiError> {
        self.end().await?.pop().ok_or_else(ApiError::gone)
    }
}

/// Passes on what one answer hears.
fn listener(
    at: usize,
    sender: UnboundedSender<(usize, Said)>,
    mut observed: Observed,
) -> impl FnMut(Heard) -> ControlFlow<()> {
    let mut tokens = Vec::new();
    move |heard| {
        observed.hears(&heard);
        let mut piece = |text: String| Said::Text(Piece { text, tokens: std::mem::take(&mut tokens) });
        let said = match heard {
            Heard::Event(Event::Text(text)) => piece(text.into()),
            Heard::Event(Event::Token(token)) => {
                tokens.push(token.clone());
                return ControlFlow::Continue(());
            }
            Heard::Ended(ended) => {
                let rest = piece(String::new());
                if matches!(&rest, Said::Text(piece) if !piece.tokens.is_empty()) {
                    // Who does not listen any more is found out below.
                    let _ = sender.send((at, rest));
                }
                let ended = ended.map_err(|error| ApiError::from(error).counted());
                observed.ends(ended.as_ref());
                Said::Ended(Box::new(ended))
            }
            Heard::Began { .. } | Heard::Event(_) => return ControlFlow::Continue(()),
        };
        match sender.send((at, said)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.tickets.iter().for_each(Ticket::cancel);
    }
}
