//! One request to a service, and who listens.

use crate::engine::EngineError;
use crate::request::{Event, FinishReason, Generation, Request, RunStats};
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a request to a service hears.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // each is made once, and looked at
pub enum Heard<'a> {
    /// Work begins.
    Began {
        /// Tokens of the prompt whose keys and values are there already.
        cached_tokens: usize,
    },
    /// Progress and text.
    Event(Event<'a>),
    /// The answer, or what there was of it when it was cancelled; nothing comes after it. With an error no other request ends.
    Ended(Result<Generation, EngineError>),
}

/// Ends a request. To drop it changes nothing.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Standing>);

/// How a request stands, for those who look from outside.
#[derive(Debug, Default)]
struct Standing {
    cancelled: AtomicBool,
    /// Its prompt was read, or never will be.
    read: AtomicBool,
}

impl Ticket {
    /// The request ends with the step under way, or with its layer; its memory is free for others then.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }
}

type Hear = Box<dyn FnMut(Heard) -> ControlFlow<()> + Send>;

/// A request.
pub(super) struct Job {
    pub prompt: Vec<u32>,
    pub request: Request,
    pub accepted: Instant,
    hear: Hear,
    standing: Arc<Standing>,
    /// The request whose prompt is to be read first.
    behind: Option<Ticket>,
}

impl Job {
    pub fn new(prompt: Vec<u32>, request: Request, behind: Option<Ticket>, hear: Hear) -> (Self, Ticket) {
        let standing = Arc::new(Standing::default());
        let ticket = Ticket(standing.clone());
        (Self { prompt, request, accepted: Instant::now(), hear, standing, behind }, ticket)
    }

    /// Whether nothing is to be read first.
    pub fn may_begin(&self) -> bool {
        self.behind.as_ref().is_none_or(|first| first.0.read.load(Ordering::Relaxed))
    }

    /// To end it, while the request itself is worked on.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.standing.clone())
    }

    pub fn is_cancelled(&self) -> bool {
        self.standing.cancelled.load(Ordering::Relaxed)
    }

    pub fn cancel(&self) {
        self.standing.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn begins(&mut self, cached_tokens: usize) {
        self.tell(Heard::Began { cached_tokens });
    }

    /// Whether to go on.
    pub fn hear(&mut self, event: Event) -> ControlFlow<()> {
        self.tell(Heard::Event(event));
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub fn ends(mut self, ended: Result<Generation, EngineError>) {
        self.tell(Heard::Ended(ended));
    }

    /// Who panics has heard enough: it is no matter of the engine.
    fn tell(&mut self, heard: Heard) {
        let read = match &heard {
            Heard::Event(Event::Prefill { done_tokens, total_tokens }) => done_tokens == total_tokens,
            Heard::Ended(_) => true,
            Heard::Began { .. } | Heard::Event(_) => false,
        };
        self.standing.read.fetch_or(read, Ordering::Relaxed);
        let hear = &mut self.hear;
        let told = panic::catch_unwind(AssertUnwindSafe(|| hear(heard)));
        if told.unwrap_or(ControlFlow::Break(())).is_break() {
            self.cancel();
        }
    }

    /// It was cancelled while it waited.
    pub fn ends_unanswered(self) {
        let stats = RunStats { prompt_tokens: self.prompt.len(), density: 1.0, ..RunStats::default() };
        let (text, tokens, said_tokens) = (String::new(), Vec::new(), Vec::new());
        self.ends(Ok(Generation { text, tokens, said_tokens, finish_reason: FinishReason::Cancelled, stats }));
    }
}
