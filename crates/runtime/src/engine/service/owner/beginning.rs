//! Which of those who wait begin.

use super::{Owner, Running, isolated};
use crate::engine::service::job::Job;
use crate::engine::service::turns::SHORT;
use std::collections::VecDeque;

impl Owner<'_> {
    /// Begins what there is room for, in the order in which it came. Only between chunks.
    pub(super) fn admit(&mut self) {
        self.end_cancelled();
        if !self.resume() || self.is_full {
            return;
        }
        while !self.in_doubt && self.places() > 0 {
            let Some(at) = self.waiting.iter().position(Job::may_begin) else { return };
            if !self.begin(at) {
                return;
            }
        }
    }

    /// While a chunk is under way, begins those with little to read, in the order in which they came. Others wait for its end, when
    /// there may be more of what they begin with; their places are left to them, and so is the room where one of them waits for it.
    pub(super) fn admit_short(&mut self) {
        self.end_cancelled();
        if self.is_full || !self.suspended.is_empty() {
            return;
        }
        let (mut at, mut places) = (0, self.places());
        while !self.in_doubt && places > 0 && at < self.waiting.len() {
            let job = &self.waiting[at];
            let may_begin = job.may_begin();
            places -= usize::from(may_begin);
            if !may_begin || self.admission.unread(job) > SHORT {
                at += 1;
            } else if !self.begin(at) {
                return;
            }
        }
    }

    /// Requests that may be worked on beside those that are.
    fn places(&self) -> usize {
        self.options.max_running.max(1).saturating_sub(self.running.len() + self.under_way.len())
    }

    /// Begins one of those who wait; whether another may be asked: not where there was no room.
    fn begin(&mut self, at: usize) -> bool {
        let Some(mut job) = self.waiting.remove(at) else { return false };
        let others = self.running.len() + self.under_way.len();
        match isolated(|| self.admission.begin(&job, others)) {
            Ok(Some(begun)) => {
                self.tell_pages();
                job.begins(begun.answer.cached_tokens());
                self.running.push(Running { job, begun, before: self.begun, next: None });
                self.begun += 1;
            }
            Ok(None) => {
                self.is_full = true;
                self.waiting.insert(at, job);
                return false;
            }
            Err(error) => self.end(job, Err(error)),
        }
        true
    }

    /// Ends those who went away while they waited.
    fn end_cancelled(&mut self) {
        let (cancelled, waiting): (VecDeque<_>, _) = self.waiting.drain(..).partition(Job::is_cancelled);
        self.waiting = waiting;
        if !cancelled.is_empty() {
            self.given_back();
        }
        cancelled.into_iter().for_each(Job::ends_unanswered);
    }
}
