//! Several prompts at once: a thread that owns the engine, and takes a step of each in turn.
//!
//! A *step* is a chunk of one prompt, or one token of every answer. So a long prompt holds others up for a chunk at most
//! ([`EngineOptions::chunk_tokens`](super::EngineOptions::chunk_tokens)), prompts take turns, and answers get half of the time. What answered requests left is
//! kept for prompts that begin alike, as the turns of a chat do (`prefixes`). Rows of several answers are not multiplied together
//! yet: each is as fast as its turns let it be. A panic is the error of the request that it came from: others go on, once the engine has
//! shown that it computes what it did before (`soundness`).

mod job;
mod owner;
#[cfg(test)]
mod panic_tests;
mod prefixes;
mod soundness;

use super::Engine;
use crate::request::Request;
use job::Job;
pub use job::{Heard, Ticket};
use owner::Owner;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// What a [`Service`] holds at a time.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Requests that are worked on; others wait in the order in which they came.
    pub max_running: usize,
    /// Answered requests whose keys and values are kept for prompts that begin alike; they go, the oldest first, where memory is
    /// needed.
    pub max_kept: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { max_running: 8, max_kept: 4 }
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
}

impl Service {
    /// Gives the engine to a thread of its own.
    ///
    /// # Panics
    /// When the system has no thread left.
    pub fn start(engine: Engine, options: ServiceOptions) -> Self {
        let (jobs, received) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicBool::new(false));
        let engine = Arc::new(engine);
        let its = (engine.clone(), stopped.clone(), broken.clone());
        let owner = thread::Builder::new().name("engine".into()).spawn(move || {
            let (engine, stopped, broken) = its;
            Owner::new(&engine, options, received, &stopped, &broken).run();
        });
        Self { engine, jobs: Some(jobs), owner: Some(owner.expect("a thread for the engine")), stopped, broken }
    }

    /// Whether it can answer. Once it cannot, every request ends with [`EngineError::Broken`](super::EngineError::Broken), and only a new engine helps.
    pub fn is_sound(&self) -> bool {
        let runs = self.owner.as_ref().is_some_and(|owner| !owner.is_finished());
        runs && !self.broken.load(Ordering::Relaxed)
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
        let (job, ticket) = Job::new(prompt, request, Box::new(hear));
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
