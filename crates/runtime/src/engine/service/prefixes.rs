//! Keys and values of answered requests, for prompts that begin alike.

use crate::model::Run;
use crate::request::{AttentionMode, Goal, Request};
use attention::BLOCK_N;
use std::collections::VecDeque;

/// How keys and values came about. From the second layer on those of a sparse prefill are not those of a dense one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Attended {
    /// By every pair.
    Densely,
    /// By what met this goal at the least.
    ForGoal(Goal),
}

impl Attended {
    /// As a request asks for it.
    pub fn by(request: &Request) -> Self {
        match request.attention {
            AttentionMode::Dense => Attended::Densely,
            AttentionMode::Auto | AttentionMode::Sparse => Attended::ForGoal(request.goal),
        }
    }

    /// Whether it serves who asks for `wanted`: no less was kept.
    fn serves(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Attended::Densely, _) => true,
            (Attended::ForGoal(Goal::Recall(kept)), Attended::ForGoal(Goal::Recall(wanted))) => kept >= wanted,
            (own, wanted) => own == wanted,
        }
    }
}

/// Runs whose requests are answered, the oldest first.
pub(super) struct Prefixes<'e> {
    most: usize,
    kept: VecDeque<Kept<'e>>,
}

struct Kept<'e> {
    run: Box<dyn Run + 'e>,
    /// Tokens that it holds.
    tokens: Vec<u32>,
    capacity: usize,
    attended: Attended,
    bytes: u64,
}

impl<'e> Prefixes<'e> {
    /// Keeps up to so many.
    pub fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new() }
    }

    /// Bytes of their caches.
    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.bytes).sum()
    }

    /// The one that has most of the beginning of a prompt and room for `tokens` tokens, rewound to what they share, with its
    /// capacity. It holds no less than `wanted` asks for, and with what is added no more.
    pub fn take(&mut self, prompt: &[u32], tokens: usize, wanted: Attended) -> Option<(Box<dyn Run + 'e>, usize)> {
        // The logits behind the last token are computed in any case.
        let shared =
            |kept: &Kept| kept.tokens.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
        let fit = self.kept.iter().enumerate();
        let fit = fit.filter(|(_, kept)| kept.capacity >= tokens && kept.attended.serves(wanted));
        let (at, shared) = fit.map(|(at, kept)| (at, shared(kept))).max_by_key(|(_, shared)| *shared)?;
        if shared < BLOCK_N {
            return None;
        }
        let Kept { mut run, capacity, .. } = self.kept.remove(at)?;
        run.rewind(shared, prompt.len());
        Some((run, capacity))
    }

    /// Keeps a run that holds the first of `tokens`.
    pub fn put(
        &mut self,
        run: Box<dyn Run + 'e>,
        mut tokens: Vec<u32>,
        capacity: usize,
        attended: Attended,
        bytes: u64,
    ) {
        tokens.truncate(run.tokens_done());
        self.kept.push_back(Kept { run, tokens, capacity, attended, bytes });
        while self.kept.len() > self.most {
            self.kept.pop_front();
        }
    }

    /// Lets the oldest go; whether there was one.
    pub fn forget_oldest(&mut self) -> bool {
        self.kept.pop_front().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_less_serves_nobody_who_asks_for_more() {
        let recall = |share| Attended::ForGoal(Goal::Recall(share));
        let density = |share| Attended::ForGoal(Goal::Density(share));
        for (kept, wanted, serves) in [
            (Attended::Densely, recall(0.98), true),
            (Attended::Densely, Attended::Densely, true),
            (recall(0.98), recall(0.9), true),
            (recall(0.9), recall(0.98), false),
            (recall(0.98), Attended::Densely, false),
            (density(0.1), density(0.1), true),
            (density(0.1), density(0.2), false),
            (recall(0.98), density(0.1), false),
        ] {
            assert_eq!(kept.serves(wanted), serves, "{kept:?} for {wanted:?}");
        }
    }
}
