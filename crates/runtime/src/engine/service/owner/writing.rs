//! Answers, a token of each at a time.

use super::{Owner, Running, isolated};
use crate::engine::EngineError;
use crate::model::StepRow;
use crate::policy::AttentionPolicy;
use std::time::{Duration, Instant};

impl Owner<'_> {
    /// A token of every answer with nothing else on the device, which tells how long that takes.
    pub(super) fn write_alone(&mut self) {
        let began = Instant::now();
        if self.write() {
            self.step = began.elapsed();
        }
    }

    /// A token of every answer through the model, and the next ones chosen; whether there were any and will be more.
    fn write(&mut self) -> bool {
        // Of those whose prompt has just been read.
        self.choose_all();
        self.reserve();
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

    pub(super) fn is_writing(&self) -> bool {
        self.running.iter().any(|running| !running.begun.answer.is_reading())
    }

    /// Tokens of all answers, at least one of each, for about so long; how long the first of them took. A GPU does first what it was asked
    /// for before.
    pub(super) fn write_for(&mut self, time: Duration) -> Duration {
        let began = Instant::now();
        let mut goes_on = self.write();
        let first = began.elapsed();
        // The nearest number of them: what is less than half of one is left to the layers.
        while goes_on && began.elapsed() + self.step / 2 < time {
            goes_on = self.write();
        }
        first
    }
}
