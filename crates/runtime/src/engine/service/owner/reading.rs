//! Prompts, a chunk of one at a time, and what others have between its layers.

use super::{Owner, Running, isolated};
use crate::engine::EngineError;
use crate::engine::answer::Aside;
use crate::engine::service::admission::attention;
use crate::engine::service::job::Ticket;
use crate::engine::service::turns::{SHORT, Turns};
use crate::policy::{Pause, PrefillAttention};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What others need to know of a request whose chunk goes through the layers.
pub(super) struct UnderWay {
    ticket: Ticket,
    /// Where times of the device go that are its own.
    aside: Aside,
    /// Bytes that its chunk takes beside weights and pages.
    scratch_bytes: u64,
}

impl UnderWay {
    /// Ends it with the layer under way.
    pub fn cancel(&self) {
        self.ticket.cancel();
    }
}

impl<'e> Owner<'e> {
    /// A chunk of one prompt; the next time another's turn has come.
    pub(super) fn read(&mut self) {
        if let Some(at) = self.running.iter().position(|running| running.begun.answer.is_reading()) {
            self.read_chunk(at);
        }
    }

    /// A chunk of a prompt; between its layers tokens of all answers and, unless it is short itself, other prompts that are.
    fn read_chunk(&mut self, at: usize) {
        if self.in_doubt {
            return;
        }
        let mut reading = self.running.remove(at);
        let tokens = reading.begun.answer.next_chunk();
        let for_prompts = !self.is_within_chunk() && tokens > SHORT;
        self.under_way.push(UnderWay {
            ticket: reading.job.ticket(),
            aside: reading.begun.answer.aside(),
            scratch_bytes: self.admission.scratch_bytes(&reading.begun),
        });
        let (engine, turns) = (self.engine, Turns::new(self.step, tokens, !self.engine.on_gpu));
        let others = Mutex::new((&mut *self, turns, Instant::now()));
        let between_layers = |done_layers: usize| {
            let (owner, turns, since) = &mut *others.lock().unwrap_or_else(PoisonError::into_inner);
            if done_layers > 0 {
                owner.between_layers(turns, since, for_prompts);
            }
            let is_cancelled = owner.under_way.last().is_some_and(|reading| reading.ticket.is_cancelled());
            if is_cancelled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // Within a layer answers alone have turns, on a device that has done by then what it was asked for.
        let within_layer = || {
            let (owner, turns, since) = &mut *others.lock().unwrap_or_else(PoisonError::into_inner);
            if owner.is_writing() {
                owner.between_layers(turns, since, false);
            }
            owner.is_writing()
        };
        let pause: Option<Pause> = if engine.on_gpu { None } else { Some(&within_layer) };
        let read = isolated(|| {
            let Running { job, begun, .. } = &mut reading;
            if job.is_cancelled() {
                begun.answer.cancel();
            }
            let (search, answer) = (&begun.search, &mut begun.answer);
            let attention = attention(&job.request, search.as_ref());
            let attention = PrefillAttention { progress: Some(&between_layers), pause, ..attention };
            engine.pool.install(|| {
                let flow = answer.step(attention, &mut |event| job.hear(event))?;
                // The next chunk may be another's.
                answer.account()?;
                if others.lock().unwrap_or_else(PoisonError::into_inner).0.others_read() {
                    answer.rest();
                }
                Ok::<_, EngineError>(flow)
            })
        });
        self.under_way.pop();
        match read {
            Err(error) => self.fail(reading, error),
            Ok(ControlFlow::Break(())) => self.finish(reading),
            Ok(ControlFlow::Continue(())) => {
                self.admission.keep(&reading.begun);
                self.given_back();
                self.running.push(reading);
            }
        }
    }

    /// Whether there are prompts to read beside the one whose chunk is under way.
    fn others_read(&self) -> bool {
        self.under_way.len() > 1 || self.running.iter().any(|running| running.begun.answer.is_reading())
    }

    /// What others have between two layers of a chunk, where it is their turn: answers some tokens, and one short prompt a chunk.
    fn between_layers(&mut self, turns: &mut Turns, since: &mut Instant, for_prompts: bool) {
        let mut short = if for_prompts { self.next_short() } else { None };
        let time = turns.layer(since.elapsed());
        short = short.filter(|_| turns.may_read());
        let writes = self.is_writing();
        if short.is_none() && !(writes && time.is_some()) {
            return;
        }
        // One token at least before a prompt is read: that takes as long as some.
        let first = if writes { self.write_for(time.unwrap_or_default()) } else { self.step };
        turns.taken(first);
        if let Some(before) = short {
            let began = Instant::now();
            if let Some(at) = self.running.iter().position(|running| running.before == before) {
                self.read_chunk(at);
            }
            // Its first token, and one of every other answer.
            self.write_alone();
            turns.read(began.elapsed(), self.step);
        }
        *since = Instant::now();
    }

    /// Whoever began first of those with little left to read, where there is memory for its chunk beside the one under way. Then the
    /// device has done the layers that it was asked for, so that the clock tells what they took.
    fn next_short(&mut self) -> Option<u64> {
        self.take_jobs();
        self.admit_short();
        let is_short = |running: &&Running| (1..=SHORT).contains(&running.begun.answer.unread_tokens());
        let short = self.running.iter().filter(is_short).min_by_key(|running| running.before)?;
        let outer = self.under_way.last()?;
        if self.in_doubt || !self.admission.has_room_beside(&short.begun, outer.scratch_bytes, self.running.len()) {
            return None;
        }
        match isolated(|| short.begun.answer.settle(&outer.aside)) {
            Ok(()) => Some(short.before),
            Err(error) => {
                // The next that waits for the device hears of it, too.
                self.in_doubt |= matches!(error, EngineError::Panicked);
                None
            }
        }
    }
}
