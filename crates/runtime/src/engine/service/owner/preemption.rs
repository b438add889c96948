//! Who gives pages up when an answer grows beyond those that there are, and who goes on when there are some again.

use super::{Owner, isolated};
use std::collections::VecDeque;

impl Owner<'_> {
    /// Goes on with those that were suspended where there is room for them; whether all of them do. Those that are cancelled end.
    pub(super) fn resume(&mut self) -> bool {
        let (cancelled, suspended): (VecDeque<_>, _) =
            self.suspended.drain(..).partition(|suspended| suspended.job.is_cancelled());
        self.suspended = suspended;
        for mut ended in cancelled {
            ended.begun.answer.cancel();
            self.finish(ended);
        }
        while !self.is_full && !self.in_doubt && self.running.len() < self.options.max_running.max(1) {
            let Some(mut next) = self.suspended.pop_front() else { return true };
            let (others, admission) = (self.running.len(), &mut self.admission);
            match isolated(|| admission.resume(&next.job, &mut next.begun, others)) {
                Ok(true) => {
                    self.tell_pages();
                    self.running.push(next);
                }
                Ok(false) => {
                    self.is_full = true;
                    self.suspended.push_front(next);
                    return false;
                }
                Err(error) => self.fail(next, error),
            }
        }
        self.suspended.is_empty()
    }

    /// Takes the pages of the request that began last, for those that began before it.
    fn suspend_last(&mut self) {
        let Some(last) = (0..self.running.len()).max_by_key(|at| self.running[*at].before) else { return };
        let mut last = self.running.remove(last);
        let admission = &mut self.admission;
        last.next = None;
        match isolated(|| {
            admission.suspend(&mut last.begun);
            Ok(())
        }) {
            Ok(()) => {
                let at = self.suspended.partition_point(|other| other.before < last.before);
                self.suspended.insert(at, last);
            }
            Err(error) => self.fail(last, error),
        }
        self.is_full = false;
        self.tell_pages();
    }

    /// Room for the next token of every answer, of those first that began first. Where there is none, whoever began last gives its
    /// pages up; not while a chunk of another is under way, which may be the last: then an answer waits for its end.
    pub(super) fn reserve(&mut self) {
        let within_chunk = self.is_within_chunk();
        let writing = self.running.iter().filter(|running| running.next.is_some());
        let mut in_order: Vec<u64> = writing.map(|running| running.before).collect();
        in_order.sort_unstable();
        for before in in_order {
            while let Some(at) = self.running.iter().position(|running| running.before == before) {
                let (admission, begun) = (&mut self.admission, &mut self.running[at].begun);
                if begun.answer.has_room() {
                    break;
                }
                match isolated(|| admission.reserve(begun)) {
                    Ok(false) if !within_chunk => self.suspend_last(),
                    Ok(_) => {
                        self.tell_pages();
                        break;
                    }
                    Err(error) => {
                        let failed = self.running.remove(at);
                        self.fail(failed, error);
                    }
                }
            }
        }
    }
}
