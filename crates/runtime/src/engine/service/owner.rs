//! The thread that owns the engine: whose step is next.

mod beginning;
mod preemption;
mod reading;
mod writing;

use super::admission::{Admission, Begun};
use super::job::Job;
use super::soundness::{Soundness, isolated};
use super::{OnPage, PagesInUse, ServiceOptions};
use crate::engine::{Engine, EngineError};
use crate::request::Generation;
use reading::UnderWay;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The thread's own: who is served, who waits.
pub(super) struct Owner<'e> {
    engine: &'e Engine,
    options: ServiceOptions,
    jobs: Receiver<Job>,
    stopped: &'e AtomicBool,
    broken: &'e AtomicBool,
    pages: &'e Mutex<PagesInUse>,
    waiting: VecDeque<Job>,
    /// Those whose pages others needed, in the order in which they began; they go on before others begin.
    suspended: VecDeque<Running<'e>>,
    running: Vec<Running<'e>>,
    /// Those whose chunk goes through the layers, which are not among `running` meanwhile: one, and behind it one that is read between
    /// its layers.
    under_way: Vec<UnderWay>,
    admission: Admission<'e>,
    soundness: Soundness,
    /// What a token of all answers last took, with nothing else on the device.
    step: Duration,
    /// Requests that began so far.
    begun: u64,
    /// Whether there was no room for whoever is next, and nothing was given back or kept since that might make some. What is given back
    /// while a chunk is under way counts at its end, when whoever is next is asked before those with little to read.
    is_full: bool,
    /// Whether work panicked since the engine was last seen sound.
    in_doubt: bool,
    /// Whether a step of several failed, so that each must show by itself that it was not at fault.
    apart: bool,
}

/// A request that is worked on.
struct Running<'e> {
    job: Job,
    begun: Begun<'e>,
    /// How many began before it.
    before: u64,
    /// The token of its answer that is to go through the model.
    next: Option<u32>,
}

impl Running<'_> {
    /// Whether its next token may go through the model.
    fn writes(&self) -> bool {
        self.next.is_some() && self.begun.answer.has_room()
    }
}

impl<'e> Owner<'e> {
    pub fn new(
        engine: &'e Engine,
        options: ServiceOptions,
        on_page: OnPage,
        jobs: Receiver<Job>,
        stopped: &'e AtomicBool,
        broken: &'e AtomicBool,
        pages: &'e Mutex<PagesInUse>,
    ) -> Self {
        let (admission, soundness) = (Admission::new(engine, options, on_page), Soundness::of(engine));
        let (waiting, suspended, running, under_way) = (VecDeque::new(), VecDeque::new(), Vec::new(), Vec::new());
        Self {
            engine,
            options,
            jobs,
            stopped,
            broken,
            pages,
            waiting,
            suspended,
            running,
            under_way,
            admission,
            soundness,
            step: Duration::ZERO,
            begun: 0,
            is_full: false,
            in_doubt: false,
            apart: false,
        }
    }

    /// Until nobody can ask any more and everything is answered.
    pub fn run(&mut self) {
        while self.listen() {
            self.admit();
            self.write_alone();
            self.read();
            if self.in_doubt {
                self.settle_doubt();
            }
        }
    }

    /// Lets go of a request, then tells how it ended: whoever hears of it finds its pages free.
    fn end(&mut self, job: Job, ended: Result<Generation, EngineError>) {
        self.in_doubt |= matches!(ended, Err(EngineError::Panicked));
        self.given_back();
        self.tell_pages();
        job.ends(ended);
    }

    /// Pages were given back or kept, which may make room for whoever is next.
    fn given_back(&mut self) {
        self.is_full &= self.is_within_chunk();
    }

    fn is_within_chunk(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn tell_pages(&self) {
        *self.pages.lock().unwrap_or_else(PoisonError::into_inner) = self.admission.pages_in_use();
    }

    /// Goes on without what is kept where the engine still computes what it did; otherwise nothing is answered any more.
    fn settle_doubt(&mut self) {
        let forgotten = isolated(|| {
            self.admission.forget_prefixes();
            Ok(())
        });
        (self.in_doubt, self.is_full) = (false, false);
        if forgotten.is_err() || !self.soundness.holds(self.engine) {
            self.broken.store(true, Ordering::Relaxed);
            for Running { job, begun, .. } in self.running.drain(..).chain(self.suspended.drain(..)) {
                // The error is the same, whatever comes of this.
                let _ = isolated(|| {
                    drop(begun);
                    Ok(())
                });
                job.ends(Err(EngineError::Broken));
            }
        }
    }

    /// Takes what was asked for meanwhile; waits for it where there is nothing to do. Whether there is.
    fn listen(&mut self) -> bool {
        if self.waiting.is_empty() && self.running.is_empty() && self.suspended.is_empty() {
            match self.jobs.recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(_) => return false,
            }
        }
        self.take_jobs();
        if self.broken.load(Ordering::Relaxed) {
            self.waiting.drain(..).for_each(|job| job.ends(Err(EngineError::Broken)));
        }
        true
    }

    /// Takes what was asked for meanwhile.
    fn take_jobs(&mut self) {
        self.waiting.extend(self.jobs.try_iter());
        if self.stopped.load(Ordering::Relaxed) {
            let begun = self.running.iter().chain(&self.suspended).map(|running| &running.job);
            self.waiting.iter().chain(begun).for_each(Job::cancel);
            self.under_way.iter().for_each(UnderWay::cancel);
        }
    }

    /// Works on a request; where that fails it ends with the error.
    fn work(&mut self, at: usize, work: impl FnOnce(&Engine, &mut Running<'e>) -> Result<(), EngineError>) {
        if self.in_doubt {
            return;
        }
        let (engine, running) = (self.engine, &mut self.running[at]);
        if let Err(error) = isolated(|| work(engine, running)) {
            let failed = self.running.remove(at);
            self.fail(failed, error);
        }
    }

    /// Ends a request with an error.
    fn fail(&mut self, Running { job, begun, .. }: Running<'e>, error: EngineError) {
        let dropped = isolated(|| {
            drop(begun);
            Ok(())
        });
        self.end(job, Err(dropped.err().unwrap_or(error)));
    }

    /// Ends a request behind its last step; its keys and values are kept.
    fn finish(&mut self, Running { job, begun, .. }: Running<'e>) {
        let ended = isolated(|| Ok(self.admission.finish(&job, begun)));
        self.end(job, ended);
    }
}
