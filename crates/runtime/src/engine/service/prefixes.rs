//! Full pages of prompts and answers, for prompts that begin alike: several may read them at a time.
//!
//! A page is found by the page before it and by its tokens, which are compared one by one. It holds what its tokens are behind
//! exactly those before, so that pages make a tree: a prompt follows it from the root as far as it goes.

use super::attended::Attended;
use super::{OnPage, PageEvent};
use crate::model::Pool;
use attention::BLOCK_N;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Where a page stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Before {
    /// Nothing; rotated as prompts of this length are, and all those that are [alike](crate::config::ModelConfig::least_alike).
    Nothing { least_alike: usize },
    /// The page of this number.
    Page(u64),
}

#[derive(PartialEq, Eq, Hash)]
struct Place {
    before: Before,
    tokens: Vec<u32>,
}

/// What is kept of a place.
struct Node {
    /// Never that of another, whatever was forgotten.
    number: u64,
    depth: usize,
    kept: Vec<Kept>,
}

/// One page of the pool.
struct Kept {
    attended: Attended,
    page: u32,
    /// When it was last asked for or put here.
    used: u64,
}

/// Pages that are kept, each with a share of its own in the pool.
pub(super) struct Prefixes {
    most: usize,
    nodes: HashMap<Place, Node>,
    pages: usize,
    /// Counts what was asked for.
    now: u64,
    numbers: u64,
    on_page: OnPage,
}

impl Prefixes {
    /// Keeps up to so many pages.
    pub fn new(most: usize) -> Self {
        Self { most, nodes: HashMap::new(), pages: 0, now: 0, numbers: 0, on_page: Box::new(|_| {}) }
    }

    /// Tells what comes and goes.
    pub fn telling(self, on_page: OnPage) -> Self {
        Self { on_page, ..self }
    }

    /// Pages that are kept and that nobody else has.
    pub fn kept_alone(&self, pool: &dyn Pool) -> usize {
        let kept = self.nodes.values().flat_map(|node| &node.kept);
        kept.filter(|kept| pool.owners(kept.page) == 1).count()
    }

    /// The longest run of pages that a prompt begins with and that hold no less than `wanted` asks for; its last token is never in
    /// them, since the logits behind it are computed in any case.
    pub fn longest(&mut self, prompt: &[u32], least_alike: usize, wanted: Attended) -> Vec<u32> {
        self.now += 1;
        let (mut before, mut found) = (Before::Nothing { least_alike }, Vec::new());
        for tokens in prompt[..prompt.len().saturating_sub(1)].chunks_exact(BLOCK_N) {
            let Some(node) = self.nodes.get_mut(&Place { before, tokens: tokens.to_vec() }) else { break };
            // The same first: then what follows is what it was.
            node.kept.sort_by_key(|kept| kept.attended != wanted);
            let Some(kept) = node.kept.iter_mut().find(|kept| kept.attended.serves(wanted)) else { break };
            kept.used = self.now;
            found.push(kept.page);
            before = Before::Page(node.number);
        }
        found
    }

    /// Keeps the full pages of a sequence that holds `tokens` in the pages of `table`, unless the same are kept already.
    pub fn put(&mut self, pool: &dyn Pool, tokens: &[u32], table: &[u32], least_alike: usize, attended: Attended) {
        self.now += 1;
        let mut before = Before::Nothing { least_alike };
        for (depth, (tokens, page)) in tokens.chunks_exact(BLOCK_N).zip(table).enumerate() {
            let number = self.numbers;
            let node = self.nodes.entry(Place { before, tokens: tokens.to_vec() }).or_insert_with(|| {
                self.numbers += 1;
                let before = match before {
                    Before::Nothing { .. } => None,
                    Before::Page(number) => Some(number),
                };
                (self.on_page)(PageEvent::Kept { page: number, before, tokens });
                Node { number, depth, kept: Vec::new() }
            });
            before = Before::Page(node.number);
            match node.kept.iter_mut().find(|kept| kept.attended == attended || kept.page == *page) {
                Some(kept) => kept.used = self.now,
                None => {
                    pool.share(std::slice::from_ref(page));
                    node.kept.push(Kept { attended, page: *page, used: self.now });
                    self.pages += 1;
                }
            }
        }
        let excess = self.pages.saturating_sub(self.most);
        self.forget(pool, excess, |_| true);
    }

    /// Gives so many pages back that nobody else has, those first that were not asked for longest, ends before beginnings. How many
    /// there were.
    pub fn make_room(&mut self, pool: &dyn Pool, pages: usize) -> usize {
        self.forget(pool, pages, |page| pool.owners(page) == 1)
    }

    /// Gives all of them back.
    pub fn clear(&mut self, pool: &dyn Pool) {
        self.forget(pool, self.pages, |_| true);
    }

    fn forget(&mut self, pool: &dyn Pool, most: usize, may_go: impl Fn(u32) -> bool) -> usize {
        if most == 0 {
            return 0;
        }
        let nodes = self.nodes.values();
        let kept = nodes.flat_map(|node| node.kept.iter().map(|kept| (kept.used, Reverse(node.depth), kept.page)));
        let mut may: Vec<_> = kept.filter(|(_, _, page)| may_go(*page)).collect();
        may.sort_unstable();
        may.truncate(most);
        let mut go: Vec<u32> = may.into_iter().map(|(_, _, page)| page).collect();
        go.sort_unstable();
        let mut gone = Vec::new();
        self.nodes.retain(|_, node| {
            node.kept.retain(|kept| go.binary_search(&kept.page).is_err());
            if node.kept.is_empty() {
                gone.push((Reverse(node.depth), node.number));
            }
            !node.kept.is_empty()
        });
        gone.sort_unstable();
        gone.into_iter().for_each(|(_, page)| (self.on_page)(PageEvent::Gone { page }));
        pool.release(&go);
        self.pages -= go.len();
        go.len()
    }
}

#[cfg(test)]
mod tests;
