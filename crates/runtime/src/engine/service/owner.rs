//! The thread that owns the engine: whose step is next.

mod preemption;

use super::admission::{Admission, Begun, attention};
use super::job::Job;
use super::soundness::{Soundness, isolated};
use super::turns::Turns;
use super::{OnPage, PagesInUse, ServiceOptions};
use crate::engine::{Engine, EngineError};
use crate::model::StepRow;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::Generation;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    admission: Admission<'e>,
    soundness: Soundness,
    /// What a token of all answers last took, with nothing else on the device.
    step: Duration,
    /// Requests that began so far.
    begun: u64,
    /// Whether there was no room for whoever is next, and nothing was given back or kept since that might make some.
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
        let (waiting, suspended, running) = (VecDeque::new(), VecDeque::new(), Vec::new());
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
            let began = Instant::now();
            if self.write(false) {
                self.step = began.elapsed();
            }
            self.read();
            if self.in_doubt {
                self.settle_doubt();
            }
        }
    }

    /// Lets go of a request, then tells how it ended: whoever hears of it finds its pages free.
    fn end(&mut self, job: Job, ended: Result<Generation, EngineError>) {
        self.in_doubt |= matches!(ended, Err(EngineError::Panicked));
        self.is_full = false;
        self.tell_pages();
        job.ends(ended);
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
        self.waiting.extend(self.jobs.try_iter());
        if self.stopped.load(Ordering::Relaxed) {
            let begun = self.running.iter().chain(&self.suspended).map(|running| &running.job);
            self.waiting.iter().chain(begun).for_each(Job::cancel);
        }
        if self.broken.load(Ordering::Relaxed) {
            self.waiting.drain(..).for_each(|job| job.ends(Err(EngineError::Broken)));
        }
        true
    }

    /// Begins what there is room for, in the order in which it came.
    fn admit(&mut self) {
        let (cancelled, waiting): (VecDeque<_>, _) = self.waiting.drain(..).partition(Job::is_cancelled);
        self.waiting = waiting;
        self.is_full &= cancelled.is_empty();
        cancelled.into_iter().for_each(Job::ends_unanswered);
        if !self.resume() || self.is_full {
            return;
        }
        while !self.in_doubt && self.running.len() < self.options.max_running.max(1) {
            let Some(at) = self.waiting.iter().position(Job::may_begin) else { return };
            let Some(mut job) = self.waiting.remove(at) else { return };
            let others = self.running.len();
            match isolated(|| self.admission.begin(&job, others)) {
                Ok(Some(begun)) => {
                    self.tell_pages();
                    job.begins(begun.answer.cached_tokens());
                    self.running.push(Running { job, begun, before: self.begun, next: None });
                    self.begun += 1;
                }
                Ok(None) => {
                    self.is_full = true;
                    return self.waiting.insert(at, job);
                }
                Err(error) => self.end(job, Err(error)),
            }
        }
    }

    /// A token of every answer through the model, and the next ones chosen; whether there were any and will be more.
    fn write(&mut self, within_chunk: bool) -> bool {
        // Of those whose prompt has just been read.
        self.choose_all();
        self.reserve(within_chunk);
        let together = !(self.engine.on_gpu && self.options.apart_on_gpu);
        let writing = self.running.iter().filter(|running| running.writes()).count();
        if together && !self.apart && !self.in_doubt && writing > 1 {
            self.forward_together();
        }
        for at in (0..self.running.len()).rev() {
            if let Some(next) = self.running[at].next.filter(|_| self.running[at].begun.answer.has_room()) {
                self.work(at, |engine, running| {
                    engine.pool.install(|| running.begun.answer.forward(next))?;
                    running.next = None;
                    Ok(())
                });
            }
        }
        // Chosen now and not before the next ones go through: a GPU, which has done nothing yet, is waited for here, so that this takes
        // the time that it takes and tokens are heard before layers of another's prompt.
        self.choose_all();
        self.apart &= self.in_doubt;
        !self.in_doubt && writing > 0 && self.is_writing()
    }

    /// The next tokens of all answers. One that was chosen and did not get through yet is as good as before.
    fn choose_all(&mut self) {
        for at in (0..self.running.len()).rev() {
            if !self.running[at].begun.answer.is_reading() && self.running[at].next.is_none() {
                self.choose(at);
            }
        }
    }

    /// The next token of an answer, which may be its end.
    fn choose(&mut self, at: usize) {
        let mut ends = false;
        self.work(at, |engine, Running { job, begun, next, .. }| {
            if job.is_cancelled() {
                begun.answer.cancel();
            }
            let (search, answer) = (&begun.search, &mut begun.answer);
            let policy = AttentionPolicy::from(search.as_ref());
            *next = engine.pool.install(|| answer.choose(policy, &mut |event| job.hear(event)))?;
            ends = next.is_none();
            Ok(())
        });
        if ends {
            let ended = self.running.remove(at);
            self.finish(ended);
        }
    }

    /// Takes the next tokens of all answers through the model. Where that fails nobody knows at whose: then each is still to go
    /// through by itself, which tells.
    fn forward_together(&mut self) {
        let (engine, admission) = (self.engine, &mut self.admission);
        let mut writing: Vec<&mut Running> = self.running.iter_mut().filter(|running| running.writes()).collect();
        let stepped = isolated(|| {
            let mut rows = Vec::with_capacity(writing.len());
            for Running { begun, next, .. } in &mut writing {
                let likeliest = begun.answer.takes_the_likeliest();
                rows.push(StepRow { run: begun.answer.run_mut(), id: next.expect("those that write"), likeliest });
            }
            engine.pool.install(|| admission.step(&mut rows))
        });
        match stepped {
            Ok(outlooks) => {
                for (Running { begun, next, .. }, outlook) in writing.into_iter().zip(outlooks) {
                    begun.answer.stepped(outlook);
                    *next = None;
                }
            }
            Err(error) => {
                self.apart = true;
                self.in_doubt |= matches!(error, EngineError::Panicked);
            }
        }
    }

    /// A chunk of one prompt, and tokens of all answers between its layers; the next time another's turn has come.
    fn read(&mut self) {
        let Some(at) = self.running.iter().position(|running| running.begun.answer.is_reading()) else { return };
        if self.in_doubt {
            return;
        }
        let mut reading = self.running.remove(at);
        let others_read = self.running[at..].iter().any(|running| running.begun.answer.is_reading());
        let engine = self.engine;
        let turns = Turns::new(self.step, reading.begun.answer.next_chunk());
        let others = Mutex::new((&mut *self, turns, Instant::now()));
        let between_layers = |done_layers: usize| {
            let (owner, turns, since) = &mut *others.lock().unwrap_or_else(PoisonError::into_inner);
            if done_layers > 0
                && owner.is_writing()
                && let Some(time) = turns.layer(since.elapsed())
            {
                turns.taken(owner.write_for(time));
                *since = Instant::now();
            }
            ControlFlow::Continue(())
        };
        let read = isolated(|| {
            let Running { job, begun, .. } = &mut reading;
            if job.is_cancelled() {
                begun.answer.cancel();
            }
            let (search, answer) = (&begun.search, &mut begun.answer);
            let attention = attention(&job.request, search.as_ref());
            let attention = PrefillAttention { progress: Some(&between_layers), ..attention };
            engine.pool.install(|| {
                let flow = answer.step(attention, &mut |event| job.hear(event))?;
                // The next chunk may be another's.
                answer.account()?;
                if others_read {
                    answer.rest();
                }
                Ok::<_, EngineError>(flow)
            })
        });
        match read {
            Err(error) => self.fail(reading, error),
            Ok(ControlFlow::Break(())) => self.finish(reading),
            Ok(ControlFlow::Continue(())) => {
                self.admission.keep(&reading.begun);
                self.is_full = false;
                self.running.push(reading);
            }
        }
    }

    fn is_writing(&self) -> bool {
        self.running.iter().any(|running| !running.begun.answer.is_reading())
    }

    /// Tokens of all answers, at least one of each, for about so long; how long the first of them took. A GPU does first what it was asked
    /// for before.
    fn write_for(&mut self, time: Duration) -> Duration {
        let began = Instant::now();
        let mut goes_on = self.write(true);
        let first = began.elapsed();
        // The nearest number of them: what is less than half of one is left to the layers.
        while goes_on && began.elapsed() + self.step / 2 < time {
            goes_on = self.write(true);
        }
        first
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
