//! Full pages of prompts and answers, for prompts that begin alike: several may read them at a time.
//!
//! A page is found by the page before it and by its tokens, which are compared one by one. It holds what its tokens are behind
//! exactly those before, so that pages make a tree: a prompt follows it from the root as far as it goes.
//!
//! What has to make room for others goes to the host, where it may, and comes back when it is asked for.

use super::attended::Attended;
use super::{OnPage, PageEvent};
use crate::model::{PageOnHost, Pool};
use crate::ops::OpsError;
use attention::BLOCK_N;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

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

/// A page of the pool, its copy on the host, or both.
struct Kept {
    /// Never that of another.
    id: u64,
    attended: Attended,
    page: Option<u32>,
    /// Good for as long as it is there: nobody writes to a full page.
    copy: Option<PageOnHost>,
    /// When it was last asked for or put here.
    used: u64,
}

/// Pages that are kept, each with a share of its own in the pool.
pub(super) struct Prefixes {
    most: usize,
    most_on_host: usize,
    nodes: HashMap<Place, Node>,
    /// Those in the pool.
    pages: usize,
    on_host: usize,
    /// Counts what was asked for.
    now: u64,
    numbers: u64,
    ids: u64,
    on_page: OnPage,
}

impl Prefixes {
    /// Keeps up to so many pages in the pool, and as many copies on the host.
    pub fn new(most: usize, most_on_host: usize) -> Self {
        let (nodes, on_page) = (HashMap::new(), Box::new(|_: PageEvent| {}));
        Self { most, most_on_host, nodes, pages: 0, on_host: 0, now: 0, numbers: 0, ids: 0, on_page }
    }

    /// Tells what comes and goes.
    pub fn telling(self, on_page: OnPage) -> Self {
        Self { on_page, ..self }
    }

    /// Pages that are kept in the pool and that nobody else has.
    pub fn kept_alone(&self, pool: &dyn Pool) -> usize {
        let kept = self.nodes.values().flat_map(|node| &node.kept);
        kept.filter(|kept| kept.page.is_some_and(|page| pool.owners(page) == 1)).count()
    }

    /// Copies on the host.
    pub fn on_host(&self) -> usize {
        self.on_host
    }

    /// The longest run of pages that a prompt begins with and that hold no less than `wanted` asks for; its last token is never in
    /// them, since the logits behind it are computed in any case. Those in the pool, and how many behind them may be brought back to it
    /// until the next are asked for.
    pub fn longest(&mut self, prompt: &[u32], least_alike: usize, wanted: Attended) -> (Vec<u32>, usize) {
        self.now += 1;
        let (now, mut found, mut behind) = (self.now, Vec::new(), 0);
        self.follow(prompt, least_alike, wanted, |kept| {
            kept.used = now;
            match kept.page.filter(|_| behind == 0) {
                Some(page) => found.push(page),
                None => behind += 1,
            }
            true
        });
        (found, behind)
    }

    /// Brings back what [`longest`](Self::longest) said last of the same prompt, into free pages, which its caller has, too, from then on.
    ///
    /// # Errors
    /// What the device says.
    pub fn bring_back(
        &mut self,
        pool: &dyn Pool,
        prompt: &[u32],
        least_alike: usize,
        wanted: Attended,
        (found, behind): (usize, usize),
    ) -> Result<Vec<u32>, OpsError> {
        let (mut at, mut brought, mut failed) = (0, 0, None);
        let mut pages = Vec::with_capacity(behind);
        self.follow(prompt, least_alike, wanted, |kept| {
            at += 1;
            if at > found {
                match kept.bring_back(pool) {
                    Ok(is_new) => brought += usize::from(is_new),
                    Err(error) => {
                        failed = Some(error);
                        return false;
                    }
                }
                pages.extend(kept.page);
            }
            at < found + behind
        });
        self.pages += brought;
        match failed {
            None => {
                pool.share(&pages);
                Ok(pages)
            }
            Some(error) => Err(error),
        }
    }

    /// What is kept of the pages that a prompt begins with, one after the other, for as long as that `goes_on`.
    fn follow(
        &mut self,
        prompt: &[u32],
        least_alike: usize,
        wanted: Attended,
        mut goes_on: impl FnMut(&mut Kept) -> bool,
    ) {
        let mut before = Before::Nothing { least_alike };
        for tokens in prompt[..prompt.len().saturating_sub(1)].chunks_exact(BLOCK_N) {
            let Some(node) = self.nodes.get_mut(&Place { before, tokens: tokens.to_vec() }) else { break };
            // The same first: then what follows is what it was.
            node.kept.sort_by_key(|kept| kept.attended != wanted);
            let Some(kept) = node.kept.iter_mut().find(|kept| kept.attended.serves(wanted)) else { break };
            if !goes_on(kept) {
                break;
            }
            before = Before::Page(node.number);
        }
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
            let kept = node.kept.iter_mut().find(|kept| kept.attended == attended || kept.page == Some(*page));
            match kept {
                Some(Kept { page: Some(_), used, .. }) => {
                    *used = self.now;
                    continue;
                }
                Some(kept) => (kept.page, kept.used) = (Some(*page), self.now),
                None => {
                    self.ids += 1;
                    node.kept.push(Kept { id: self.ids, attended, page: Some(*page), copy: None, used: self.now });
                }
            }
            pool.share(std::slice::from_ref(page));
            self.pages += 1;
        }
        let excess = self.pages.saturating_sub(self.most);
        self.forget(pool, excess, |_| true);
    }

    /// Gives so many pages back that nobody else has, those first that were not asked for longest, ends before beginnings, and none
    /// that was asked for last. How many there were.
    pub fn make_room(&mut self, pool: &dyn Pool, pages: usize) -> usize {
        let now = self.now;
        self.forget(pool, pages, |kept| kept.used < now && kept.page.is_some_and(|page| pool.owners(page) == 1))
    }

    /// As [`make_room`](Self::make_room), of whatever nobody else has.
    pub fn make_any_room(&mut self, pool: &dyn Pool, pages: usize) -> usize {
        self.now += 1;
        self.make_room(pool, pages)
    }

    /// Gives all pages back; what may stay on the host does.
    pub fn leave(&mut self, pool: &dyn Pool) {
        self.forget(pool, self.pages, |_| true);
    }

    /// Keeps nothing any more, also of what is on the host.
    pub fn clear(&mut self, pool: &dyn Pool) {
        let pages: Vec<u32> = self.nodes.values().flat_map(|node| &node.kept).filter_map(|kept| kept.page).collect();
        pool.release(&pages);
        self.nodes.values_mut().for_each(|node| node.kept.clear());
        (self.pages, self.on_host) = (0, 0);
        self.tell_gone();
    }

    /// Gives up to so many pages back, of those that `may_go`; how many.
    fn forget(&mut self, pool: &dyn Pool, most: usize, may_go: impl Fn(&Kept) -> bool) -> usize {
        let go = self.longest_unused(most, |kept| kept.page.is_some() && may_go(kept));
        if go.is_empty() {
            return 0;
        }
        self.make_room_on_host(go.len());
        // Where there is no room for all, those that were asked for last, and beginnings before ends.
        let copied: HashSet<u64> = go.iter().rev().take(self.most_on_host - self.on_host).copied().collect();
        let go: HashSet<u64> = go.into_iter().collect();
        let mut pages = Vec::with_capacity(go.len());
        for kept in self.nodes.values_mut().flat_map(|node| &mut node.kept) {
            let Some(page) = kept.page.filter(|_| go.contains(&kept.id)) else { continue };
            if kept.copy.is_none() && copied.contains(&kept.id) {
                // Where the system has no memory it is read anew.
                kept.copy = pool.copy_to_host(page).ok();
                self.on_host += usize::from(kept.copy.is_some());
            }
            kept.page = None;
            pages.push(page);
        }
        pool.release(&pages);
        self.pages -= pages.len();
        self.tell_gone();
        pages.len()
    }

    /// Where there is no room for so many copies more, lets those go that were not asked for longest, and none that was asked for last.
    fn make_room_on_host(&mut self, copies: usize) {
        let excess = (self.on_host + copies.min(self.most_on_host)).saturating_sub(self.most_on_host);
        let now = self.now;
        let go: HashSet<u64> =
            self.longest_unused(excess, |kept| kept.copy.is_some() && kept.used < now).into_iter().collect();
        for kept in self.nodes.values_mut().flat_map(|node| &mut node.kept) {
            if go.contains(&kept.id) && kept.copy.take().is_some() {
                self.on_host -= 1;
            }
        }
    }

    /// Up to so many of what is kept and may go: what was not asked for longest first, ends before beginnings.
    fn longest_unused(&self, most: usize, may_go: impl Fn(&Kept) -> bool) -> Vec<u64> {
        if most == 0 {
            return Vec::new();
        }
        let all = self.nodes.values().flat_map(|node| node.kept.iter().map(|kept| (node.depth, kept)));
        let may = all.filter(|(_, kept)| may_go(kept));
        let mut may: Vec<_> = may.map(|(depth, kept)| (kept.used, Reverse(depth), kept.id)).collect();
        may.sort_unstable();
        may.into_iter().take(most).map(|(_, _, id)| id).collect()
    }

    /// Forgets what is kept nowhere any more, and tells which places have nothing left, ends before beginnings.
    fn tell_gone(&mut self) {
        let mut gone = Vec::new();
        self.nodes.retain(|_, node| {
            node.kept.retain(|kept| kept.page.is_some() || kept.copy.is_some());
            if node.kept.is_empty() {
                gone.push((Reverse(node.depth), node.number));
            }
            !node.kept.is_empty()
        });
        gone.sort_unstable();
        gone.into_iter().for_each(|(_, page)| (self.on_page)(PageEvent::Gone { page }));
    }
}

impl Kept {
    /// Into a free page, where it has none; whether it had none.
    fn bring_back(&mut self, pool: &dyn Pool) -> Result<bool, OpsError> {
        match (self.page, &self.copy) {
            (None, Some(copy)) => {
                self.page = Some(pool.copy_from_host(copy)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
