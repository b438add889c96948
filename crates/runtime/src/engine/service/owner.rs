//! The thread that owns the engine: whose step is next.

use super::ServiceOptions;
use super::job::Job;
use super::prefixes::{Attended, Prefixes};
use super::soundness::{Soundness, isolated};
use crate::engine::answer::Answer;
use crate::engine::choice::Choice;
use crate::engine::{Engine, EngineError};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{AttentionMode, Generation, Request};
use attention::search::Search;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The thread's own: who is served, who waits, what is kept.
pub(super) struct Owner<'e> {
    engine: &'e Engine,
    options: ServiceOptions,
    jobs: Receiver<Job>,
    stopped: &'e AtomicBool,
    broken: &'e AtomicBool,
    waiting: VecDeque<Job>,
    running: Vec<Running<'e>>,
    kept: Prefixes<'e>,
    soundness: Soundness,
    /// Whether work panicked since the engine was last seen sound.
    in_doubt: bool,
}

/// A request that is worked on.
struct Running<'e> {
    job: Job,
    begun: Begun<'e>,
}

/// What it takes to answer it.
struct Begun<'e> {
    search: Option<Search>,
    answer: Answer<'e>,
    attended: Attended,
    /// Tokens that its cache has room for, and bytes that it takes.
    capacity: usize,
    cache_bytes: u64,
}

impl<'e> Owner<'e> {
    pub fn new(
        engine: &'e Engine,
        options: ServiceOptions,
        jobs: Receiver<Job>,
        stopped: &'e AtomicBool,
        broken: &'e AtomicBool,
    ) -> Self {
        let (kept, soundness) = (Prefixes::new(options.max_kept), Soundness::of(engine));
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { engine, options, jobs, stopped, broken, waiting, running, kept, soundness, in_doubt: false }
    }

    /// Until nobody can ask any more and everything is answered.
    pub fn run(&mut self) {
        let mut read_for = Duration::ZERO;
        while self.listen() {
            self.admit();
            // Answers get as much time as the chunk before took: short ones end while a long prompt is read.
            let began = Instant::now();
            while self.write() && self.is_reading() && began.elapsed() < read_for {}
            let began = Instant::now();
            self.read();
            read_for = began.elapsed();
            if self.in_doubt {
                self.settle_doubt();
            }
        }
    }

    /// Goes on without what is kept where the engine still computes what it did; otherwise nothing is answered any more.
    fn settle_doubt(&mut self) {
        let kept = std::mem::replace(&mut self.kept, Prefixes::new(self.options.max_kept));
        let forgotten = isolated(|| {
            drop(kept);
            Ok(())
        });
        self.in_doubt = false;
        if forgotten.is_err() || !self.soundness.holds(self.engine) {
            self.broken.store(true, Ordering::Relaxed);
            for Running { job, begun } in self.running.drain(..) {
                // The error is the same, whatever comes of this.
                let _ = isolated(|| {
                    drop(begun);
                    Ok(())
                });
                job.ends(Err(EngineError::Broken));
            }
        }
    }

    fn is_reading(&self) -> bool {
        self.running.iter().any(|running| running.begun.answer.is_reading())
    }

    /// Takes what was asked for meanwhile; waits for it where there is nothing to do. Whether there is.
    fn listen(&mut self) -> bool {
        if self.waiting.is_empty() && self.running.is_empty() {
            match self.jobs.recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(_) => return false,
            }
        }
        self.waiting.extend(self.jobs.try_iter());
        if self.stopped.load(Ordering::Relaxed) {
            self.waiting.iter().chain(self.running.iter().map(|running| &running.job)).for_each(Job::cancel);
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
        cancelled.into_iter().for_each(Job::ends_unanswered);
        while !self.in_doubt && self.running.len() < self.options.max_running.max(1) {
            let Some(mut job) = self.waiting.pop_front() else { return };
            match isolated(|| self.begin(&job)) {
                Ok(Some(begun)) => {
                    job.begins(begun.answer.cached_tokens());
                    self.running.push(Running { job, begun });
                }
                Ok(None) => return self.waiting.push_front(job),
                Err(error) => self.end(job, Err(error)),
            }
        }
    }

    fn end(&mut self, job: Job, ended: Result<Generation, EngineError>) {
        self.in_doubt |= matches!(ended, Err(EngineError::Panicked));
        job.ends(ended);
    }

    /// The answer to a request, no step of it done; nothing where others must end first.
    fn begin(&mut self, job: &Job) -> Result<Option<Begun<'e>>, EngineError> {
        let engine = self.engine;
        let Job { prompt, request, accepted, .. } = job;
        let choice = Choice::new(engine, request, prompt)?;
        let context = engine.config().max_context;
        let tokens = engine.check_tokens(prompt, request.max_tokens, context)?;
        let attended = Attended::by(request);
        let begun = |search, run, choice, capacity| Begun {
            search,
            answer: Answer::new(engine, run, capacity, prompt, request, choice, *accepted),
            attended,
            capacity,
            cache_bytes: engine.predicted_memory(capacity, false).kv_cache_bytes,
        };
        if let Some((run, capacity)) = self.kept.take(prompt, tokens, attended) {
            let search = engine.search_behind(run.tokens_done(), request, prompt.len())?;
            engine.check_attention(attention(request, search.as_ref()))?;
            return Ok(Some(begun(search, run, choice, capacity)));
        }
        let search = engine.search_with_room(request, prompt.len(), tokens)?;
        engine.check_attention(attention(request, search.as_ref()))?;
        // As much again, so that the next turn of a chat fits as well; just enough, where memory is scarce.
        for capacity in [(2 * tokens).min(context), tokens] {
            if self.has_room(capacity, search.is_some(), capacity == tokens)? {
                let run = engine.pool.install(|| engine.model.start(prompt.len(), capacity))?;
                return Ok(Some(begun(search, run, choice, capacity)));
            }
        }
        Ok(None)
    }

    /// Whether a run of so many tokens has room beside what runs. What is kept makes room where it is `needed`; where that does not
    /// suffice and nothing runs that could end, it is an error.
    fn has_room(&mut self, tokens: usize, sparse: bool, needed: bool) -> Result<bool, EngineError> {
        loop {
            let of_running: u64 = self.running.iter().map(|running| running.begun.cache_bytes).sum();
            match self.engine.check_room_beside(self.kept.bytes() + of_running, tokens, sparse) {
                Ok(()) => return Ok(true),
                Err(_) if needed && self.kept.forget_oldest() => {}
                Err(error) if needed && self.running.is_empty() => return Err(error),
                Err(_) => return Ok(false),
            }
        }
    }

    /// A token of every answer; whether there will be more.
    fn write(&mut self) -> bool {
        let mut more = false;
        for at in (0..self.running.len()).rev() {
            if !self.running[at].begun.answer.is_reading() {
                more |= self.step(at);
            }
        }
        more
    }

    /// A chunk of one prompt; the next time another's turn has come.
    fn read(&mut self) {
        let Some(at) = self.running.iter().position(|running| running.begun.answer.is_reading()) else { return };
        if self.step(at) {
            let behind = self.running.remove(at);
            self.running.push(behind);
        }
    }

    /// The next step of a request; whether there will be another.
    fn step(&mut self, at: usize) -> bool {
        if self.in_doubt {
            return false;
        }
        let engine = self.engine;
        let Running { job, begun: Begun { search, answer, .. } } = &mut self.running[at];
        if job.is_cancelled() {
            answer.cancel();
        }
        let attention = attention(&job.request, search.as_ref());
        let reads = answer.is_reading();
        let stepped = isolated(|| {
            engine.pool.install(|| {
                let flow = answer.step(attention, &mut |event| job.hear(event))?;
                // The next chunk may be another's.
                if reads {
                    answer.account()?;
                }
                Ok(flow)
            })
        });
        if matches!(stepped, Ok(ControlFlow::Continue(()))) {
            return true;
        }
        let Running { job, begun } = self.running.remove(at);
        let ended = isolated(|| self.finish(&job, begun, stepped.map(drop)));
        self.end(job, ended);
        false
    }

    /// The answer behind the last step; its keys and values are kept.
    fn finish(
        &mut self,
        job: &Job,
        begun: Begun<'e>,
        stepped: Result<(), EngineError>,
    ) -> Result<Generation, EngineError> {
        let Begun { search, answer, attended, capacity, cache_bytes } = begun;
        stepped?;
        let (mut generation, run) = answer.finish();
        generation.stats.search_left_out = job.request.attention == AttentionMode::Auto && search.is_none();
        let held = [job.prompt.as_slice(), &generation.tokens].concat();
        self.kept.put(run, held, capacity, attended, cache_bytes);
        Ok(generation)
    }
}

fn attention<'s>(request: &Request, search: Option<&'s Search>) -> PrefillAttention<'s> {
    PrefillAttention { receipt: request.receipt, ..PrefillAttention::from(AttentionPolicy::from(search)) }
}
