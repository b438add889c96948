//! Several prompts at once: a thread that owns the engine, and takes a step of each in turn.
//!
//! A *step* is a chunk of one prompt, or one token of every answer: one pass over the weights for all of them. Prompts take turns, chunk by
//! chunk ([`EngineOptions::chunk_tokens`](super::EngineOptions::chunk_tokens)), and answers go on between the layers of a chunk, on a CPU
//! also within them (`policy::Pause`): so a long
//! prompt holds them up for little (`turns`), and is computed and planned as it is alone. Prompts with little to read do not wait for a
//! chunk either: those that came meanwhile begin, and one at a time is read between two of its layers (`owner::reading`), where memory
//! suffices for both; it has a place among `max_running` as any other.
//!
//! All of them have their keys and values in pages of one pool (`pool_room` says how many). A request begins
//! when the pages of its prompt are there and a few more, and takes more as its answer grows (`admission`). Where none are left, whoever
//! began last is suspended: it gives its pages up, waits, reads again what was in those that others needed, and goes on where it stood.
//! Whoever began first always has what it may need. Full pages are kept for prompts that begin alike, as the
//! turns of a chat do, as soon as they are read and until others need the room, of a GPU on the host even then; any number of requests share them (`prefixes`). Who
//! comes while the same beginning is still being read takes what is there of it by then, and reads the rest itself.
//!
//! A panic is the error of the request that it came from: others go on, once the engine has shown that it computes what it did before
//! (`soundness`).

mod admission;
mod attended;
mod job;
#[cfg(test)]
mod nested_tests;
mod owner;
#[cfg(test)]
mod panic_tests;
mod pool_room;
#[cfg(test)]
mod pool_tests;
mod prefixes;
mod soundness;
mod turns;

use super::Engine;
use crate::request::Request;
use job::Job;
pub use job::{Heard, Ticket};
use owner::Owner;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What a [`Service`] holds at a time.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Requests that are worked on; others wait in the order in which they came.
    pub max_running: usize,
    /// Tokens whose keys and values are kept for prompts that begin alike, whole pages of them; `None` is as many as there is room
    /// for. Those that were not asked for longest go first, and all go where others need the room.
    pub max_kept_tokens: Option<usize>,
    /// Tokens whose keys and values go to memory of the host where others need a GPU's, and come back when a prompt begins with them,
    /// in place of being read anew. Worth it where prompts do begin alike: whoever needs the room waits for what goes. A CPU's are
    /// there already.
    pub max_host_tokens: usize,
    /// On a GPU, take the tokens of answers through the model one after the other. Together sums are made in another order than of one
    /// alone there, and answers may differ from those of each alone where two tokens are nearly as likely; a CPU gives the same to the bit.
    pub apart_on_gpu: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { max_running: 8, max_kept_tokens: None, max_host_tokens: 0, apart_on_gpu: false }
    }
}

/// An engine that answers several requests at once.
///
/// ```no_run
/// use runtime::engine::service::{Heard, Service, ServiceOptions};
/// use runtime::engine::{Engine, EngineOptions};
/// use runtime::request::{Event, Request};
/// use std::ops::ControlFlow;
///
/// let engine = Engine::load("model.gguf", &EngineOptions::default(), &mut |_| {})?;
/// let prompts = ["The capital of France is", "The capital of Spain is"].map(|text| engine.encode(text));
/// let service = Service::start(engine, ServiceOptions::default());
/// for (n, prompt) in prompts.into_iter().enumerate() {
///     service.submit(prompt?, Request::default(), move |heard| {
///         match heard {
///             Heard::Event(Event::Text(piece)) => println!("{n}: {piece}"),
///             Heard::Ended(Err(error)) => eprintln!("{n}: {error}"),
///             _ => {}
///         }
///         ControlFlow::Continue(())
///     });
/// }
/// service.finish(); // what was asked for is answered first
/// # Ok::<(), runtime::engine::EngineError>(())
/// ```
pub struct Service {
    engine: Arc<Engine>,
    jobs: Option<Sender<Job>>,
    owner: Option<JoinHandle<()>>,
    /// Whether what is under way shall end.
    stopped: Arc<AtomicBool>,
    /// Whether the engine is known to compute wrongly, or not known to compute rightly.
    broken: Arc<AtomicBool>,
    pages: Arc<Mutex<PagesInUse>>,
}

/// Pages of keys and values, of [`BLOCK_N`](attention::BLOCK_N) tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesInUse {
    /// All of them; none before the first request. On a GPU they become more where one asks for more and nobody runs.
    pub all: usize,
    /// Of those, what requests have that are worked on.
    pub of_requests: usize,
    /// Of those, what is kept beside for prompts that begin alike.
    pub kept: usize,
    /// What of a GPU's pages is kept on the host, whether or not it is in one of its pages as well.
    pub on_host: usize,
}

/// What becomes of pages that are kept for prompts that begin alike: for those who choose among several services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEvent<'a> {
    /// One is there from here on.
    Kept {
        /// Its number, never that of another.
        page: u64,
        /// The page that it stands behind; none where a prompt begins with it.
        before: Option<u64>,
        /// Its tokens, as many as a page has.
        tokens: &'a [u32],
    },
    /// One is no more. Those behind it went before.
    Gone {
        /// Its number.
        page: u64,
    },
}

/// Hears of pages on the engine's thread, and must not wait.
type OnPage = Box<dyn FnMut(PageEvent) + Send>;

impl Service {
    /// Gives the engine to a thread of its own.
    ///
    /// # Panics
    /// When the system has no thread left.
    pub fn start(engine: Engine, options: ServiceOptions) -> Self {
        Self::start_telling(engine, options, |_| {})
    }

    /// As [`start`](Self::start); `on_page` is called on the engine's thread where a page comes or goes, in order, and must not wait.
    ///
    /// # Panics
    /// As `start`.
    pub fn start_telling(
        engine: Engine,
        options: ServiceOptions,
        on_page: impl FnMut(PageEvent) + Send + 'static,
    ) -> Self {
        let on_page: OnPage = Box::new(on_page);
        let (jobs, received) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicBool::new(false));
        let pages = Arc::new(Mutex::new(PagesInUse::default()));
        let engine = Arc::new(engine);
        let its = (engine.clone(), stopped.clone(), broken.clone(), pages.clone());
        let owner = thread::Builder::new().name("engine".into()).spawn(move || {
            let (engine, stopped, broken, pages) = its;
            Owner::new(&engine, options, on_page, received, &stopped, &broken, &pages).run();
        });
        Self { engine, jobs: Some(jobs), owner: Some(owner.expect("a thread for the engine")), stopped, broken, pages }
    }

    /// Whether it can answer. Once it cannot, every request ends with [`EngineError::Broken`](super::EngineError::Broken), and only a new engine helps.
    pub fn is_sound(&self) -> bool {
        let runs = self.owner.as_ref().is_some_and(|owner| !owner.is_finished());
        runs && !self.broken.load(Ordering::Relaxed)
    }

    /// What the pages are used for, before the step under way.
    pub fn pages(&self) -> PagesInUse {
        *self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine, for its tokenizer, template and properties.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Asks for the answer to a prompt. `hear` is called on the engine's thread, in order, and must not wait: whether to go on it
    /// says as [`Events`](crate::request::Events) do. The last it hears is [`Heard::Ended`].
    pub fn submit(
        &self,
        prompt: Vec<u32>,
        request: Request,
        hear: impl FnMut(Heard) -> ControlFlow<()> + Send + 'static,
    ) -> Ticket {
        self.send(Job::new(prompt, request, None, Box::new(hear)))
    }

    /// As [`submit`](Self::submit), of a prompt that begins as that of an earlier request: it waits until that one is read, whose
    /// full pages it then shares, or ended. So several answers to one prompt read it once. Others that wait are not held up.
    pub fn submit_behind(
        &self,
        first: &Ticket,
        prompt: Vec<u32>,
        request: Request,
        hear: impl FnMut(Heard) -> ControlFlow<()> + Send + 'static,
    ) -> Ticket {
        self.send(Job::new(prompt, request, Some(first.clone()), Box::new(hear)))
    }

    fn send(&self, (job, ticket): (Job, Ticket)) -> Ticket {
        // It is there until the service is dropped.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
        ticket
    }

    /// Answers what was asked for, then lets the engine go.
    pub fn finish(mut self) {
        self.jobs = None;
        self.join();
    }

    fn join(&mut self) {
        if let Some(owner) = self.owner.take() {
            // What a panic of that thread said stands on standard error.
            let _ = owner.join();
        }
    }
}

impl Drop for Service {
    /// Ends what is under way: it is [cancelled](crate::request::FinishReason::Cancelled).
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.join();
    }
}
