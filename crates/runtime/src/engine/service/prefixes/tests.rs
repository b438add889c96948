use super::*;
use crate::model::{Outlook, PageOnHost, Run, StepRow};
use crate::ops::OpsError;
use crate::request::Goal;
use crate::sequence::CacheFull;
use std::sync::{Arc, Mutex};

/// Counts who has each page.
struct Counted(Mutex<Vec<u32>>);

impl Counted {
    /// Pages that a request has each once.
    fn of(pages: usize) -> Self {
        Self(Mutex::new(vec![1; pages]))
    }

    fn owners_of_all(&self) -> Vec<u32> {
        self.0.lock().unwrap().clone()
    }
}

impl Pool<'static> for Counted {
    fn share(&self, pages: &[u32]) {
        pages.iter().for_each(|page| self.0.lock().unwrap()[*page as usize] += 1);
    }
    fn release(&self, pages: &[u32]) {
        pages.iter().for_each(|page| self.0.lock().unwrap()[*page as usize] -= 1);
    }
    fn owners(&self, page: u32) -> u32 {
        self.0.lock().unwrap()[page as usize]
    }
    fn num_pages(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn free_pages(&self) -> usize {
        self.owners_of_all().iter().filter(|owners| **owners == 0).count()
    }
    fn copy_to_host(&self, page: u32) -> Result<PageOnHost, OpsError> {
        Ok(PageOnHost::of(page))
    }
    fn copy_from_host(&self, _: &PageOnHost) -> Result<u32, OpsError> {
        let mut owners = self.0.lock().unwrap();
        let page = owners.iter().position(|owners| *owners == 0).ok_or(CacheFull { free: 0, needed: 1 })?;
        owners[page] = 1;
        Ok(page as u32)
    }
    fn start(&self, _: usize, _: usize, _: &[u32]) -> Result<Box<dyn Run + 'static>, OpsError> {
        unreachable!("no test begins")
    }
    fn step(&mut self, _: &mut [StepRow]) -> Result<Vec<Outlook>, OpsError> {
        unreachable!("no test steps")
    }
}

fn tokens(seed: u32, pages: usize) -> Vec<u32> {
    (0..(pages * BLOCK_N) as u32).map(|n| n * 31 + seed).collect()
}

const RECALL: Attended = Attended::ForGoal(Goal::Recall(0.98));

#[test]
fn the_longest_beginning_of_full_pages_is_found() {
    let (pool, mut prefixes) = (Counted::of(8), Prefixes::new(8, 0));
    let first = tokens(1, 3);
    prefixes.put(&pool, &[&first[..], &[5; 10]].concat(), &[4, 2, 7, 0], 0, Attended::Densely);
    assert_eq!((prefixes.pages, pool.owners(0)), (3, 1), "a page that is not full is not kept");
    let mut longest = |prompt: &[u32], least_alike, wanted| prefixes.longest(prompt, least_alike, wanted).0;
    assert_eq!(longest(&[&first[..], &[1]].concat(), 0, Attended::Densely), [4, 2, 7]);
    assert_eq!(longest(&first, 0, RECALL), [4, 2], "the last token is computed in any case");
    let mut other = first.clone();
    other[BLOCK_N + 3] += 1;
    assert_eq!(longest(&other, 0, RECALL), [4]);
    // The same tokens behind others, or rotated otherwise, are something else.
    assert!(longest(&first[BLOCK_N..], 0, RECALL).is_empty() && longest(&first, 9, RECALL).is_empty());
    assert!(longest(&[], 0, RECALL).is_empty() && longest(&first[..BLOCK_N], 0, RECALL).is_empty());
}

#[test]
fn what_kept_less_is_kept_beside_what_kept_more() {
    let (pool, mut prefixes) = (Counted::of(8), Prefixes::new(8, 0));
    let prompt = tokens(1, 3);
    prefixes.put(&pool, &prompt, &[0, 1, 2], 0, RECALL);
    assert!(prefixes.longest(&prompt, 0, Attended::Densely).0.is_empty());
    prefixes.put(&pool, &prompt[..2 * BLOCK_N], &[3, 4], 0, Attended::Densely);
    assert_eq!(prefixes.longest(&prompt, 0, Attended::Densely).0, [3, 4]);
    assert_eq!(prefixes.longest(&prompt, 0, RECALL).0, [0, 1]);
    prefixes.put(&pool, &prompt, &[5, 6, 7], 0, RECALL);
    assert_eq!((prefixes.pages, pool.owners(5)), (5, 1), "what is kept is not kept twice");
}

#[test]
fn what_was_not_asked_for_longest_goes_first_and_what_is_in_use_stays() {
    let (pool, mut prefixes) = (Counted::of(8), Prefixes::new(8, 0));
    let [first, second, third] = [1, 2, 3].map(|seed| tokens(seed, 2));
    for (prompt, table) in [(&first, [0, 1]), (&second, [2, 3]), (&third, [4, 5])] {
        prefixes.put(&pool, prompt, &table, 0, Attended::Densely);
    }
    pool.release(&[2, 3, 4, 5]);
    assert_eq!(prefixes.longest(&[&second[..], &[0]].concat(), 0, RECALL).0, [2, 3]);
    // Those of the first are still a request's.
    assert_eq!(prefixes.make_room(&pool, 1), 1);
    assert_eq!(pool.owners_of_all()[..6], [2, 2, 1, 1, 1, 0], "the end of the third");
    // Of the second none went that was asked for last; another is now.
    assert_eq!(prefixes.make_room(&pool, 9), 1);
    prefixes.longest(&[], 0, RECALL);
    assert_eq!(prefixes.make_room(&pool, 9), 2);
    assert_eq!(pool.owners_of_all()[..6], [2, 2, 0, 0, 0, 0]);
    prefixes.clear(&pool);
    assert_eq!((prefixes.pages, pool.owners_of_all()), (0, vec![1, 1, 0, 0, 0, 0, 1, 1]));
}

#[test]
fn no_more_is_kept_than_was_allowed() {
    let (pool, mut prefixes) = (Counted::of(4), Prefixes::new(2, 0));
    prefixes.put(&pool, &tokens(1, 4), &[0, 1, 2, 3], 0, Attended::Densely);
    assert_eq!(pool.owners_of_all(), [2, 2, 1, 1]);
    let mut none = Prefixes::new(0, 0);
    none.put(&pool, &tokens(1, 4), &[0, 1, 2, 3], 0, Attended::Densely);
    assert_eq!((none.pages, pool.owners_of_all()), (0, vec![2, 2, 1, 1]));
}

#[test]
fn pages_that_come_and_go_are_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = {
        let told = told.clone();
        move |event: PageEvent| {
            told.lock().unwrap().push(match event {
                PageEvent::Kept { page, before, tokens } => (page, Some((before, tokens.to_vec()))),
                PageEvent::Gone { page } => (page, None),
            });
        }
    };
    let (pool, mut prefixes) = (Counted::of(4), Prefixes::new(4, 0).telling(Box::new(hear)));
    let heard = || std::mem::take(&mut *told.lock().unwrap());
    let (first, other) = (tokens(1, 2), tokens(2, 1));
    prefixes.put(&pool, &first, &[0, 1], 0, Attended::Densely);
    let page = |of: &[u32], at: usize| of[at * BLOCK_N..][..BLOCK_N].to_vec();
    assert_eq!(heard(), [(0, Some((None, page(&first, 0)))), (1, Some((Some(0), page(&first, 1))))]);
    // The same again, read by another attention: the router's page is there already.
    prefixes.put(&pool, &first, &[2, 3], 0, RECALL);
    assert_eq!(heard(), []);
    prefixes.clear(&pool);
    assert_eq!(heard(), [(1, None), (0, None)]);
    prefixes.put(&pool, &other, &[0], 0, Attended::Densely);
    assert_eq!(heard(), [(2, Some((None, page(&other, 0))))]);
}

/// Pages of a pool of six, all free but what is kept: two prompts of two pages.
fn two_prompts(most_on_host: usize) -> (Counted, Prefixes, [Vec<u32>; 2]) {
    let (pool, mut prefixes) = (Counted::of(6), Prefixes::new(6, most_on_host));
    let prompts = [tokens(1, 2), tokens(2, 2)];
    for (prompt, table) in prompts.iter().zip([[0, 1], [2, 3]]) {
        prefixes.put(&pool, prompt, &table, 0, Attended::Densely);
    }
    pool.release(&[0, 1, 2, 3, 4, 5]);
    (pool, prefixes, prompts.map(|prompt| [&prompt[..], &[0]].concat()))
}

#[test]
fn what_makes_room_goes_to_the_host_and_comes_back() {
    let (pool, mut prefixes, [first, second]) = two_prompts(4);
    assert_eq!(prefixes.longest(&second, 0, RECALL), (vec![2, 3], 0));
    // The second was asked for last, and stays.
    assert_eq!(prefixes.make_room(&pool, 9), 2);
    assert_eq!((pool.free_pages(), prefixes.pages, prefixes.on_host()), (4, 2, 2));
    assert_eq!(prefixes.longest(&first, 0, RECALL), (vec![], 2));
    let back = prefixes.bring_back(&pool, &first, 0, RECALL, (0, 2)).unwrap();
    assert_eq!((back.len(), pool.free_pages(), prefixes.pages), (2, 2, 4));
    assert!(back.iter().all(|page| pool.owners(*page) == 2), "it is the caller's as well");
    pool.release(&back);
    assert_eq!(prefixes.longest(&first, 0, RECALL), (back, 0));
    // The copies are still good.
    prefixes.longest(&second, 0, RECALL);
    assert_eq!((prefixes.make_room(&pool, 2), prefixes.on_host()), (2, 2));
    assert_eq!(prefixes.longest(&first, 0, RECALL), (vec![], 2));
    prefixes.clear(&pool);
    assert_eq!((prefixes.pages, prefixes.on_host(), pool.free_pages()), (0, 0, 6));
    assert_eq!(prefixes.longest(&first, 0, RECALL), (vec![], 0));
}

#[test]
fn a_part_of_a_prompt_comes_back_behind_what_is_there() {
    let (pool, mut prefixes, [first, second]) = two_prompts(4);
    prefixes.longest(&second, 0, RECALL);
    assert_eq!(prefixes.make_room(&pool, 1), 1);
    assert_eq!(prefixes.longest(&first, 0, RECALL), (vec![0], 1));
    let back = prefixes.bring_back(&pool, &first, 0, RECALL, (1, 1)).unwrap();
    assert_eq!(back.len(), 1);
    // Read once more by another request, which has pages of its own: one is kept.
    prefixes.put(&pool, &first, &[0, back[0]], 0, Attended::Densely);
    assert_eq!((prefixes.pages, pool.owners(back[0])), (4, 2));
}

#[test]
fn the_host_has_no_more_than_was_allowed() {
    let (pool, mut prefixes, [first, second]) = two_prompts(3);
    prefixes.leave(&pool);
    assert_eq!((prefixes.pages, prefixes.on_host(), pool.free_pages()), (0, 3, 6));
    let there = [&first, &second].map(|prompt| prefixes.longest(prompt, 0, RECALL).1);
    assert_eq!(there.iter().sum::<usize>(), 3, "{there:?}");
    // A third one takes the places of those that were not asked for last, ends first.
    let third = tokens(3, 2);
    prefixes.put(&pool, &third, &[0, 1], 0, Attended::Densely);
    prefixes.longest(&second, 0, RECALL);
    prefixes.leave(&pool);
    assert_eq!(prefixes.on_host(), 3);
    assert_eq!(prefixes.longest(&second, 0, RECALL).1, there[1], "it was asked for last");
    let (pool, mut none, _) = two_prompts(0);
    none.leave(&pool);
    assert_eq!((none.on_host(), none.nodes.len()), (0, 0));
}

#[test]
fn a_page_that_cannot_come_back_is_nobodys() {
    let (pool, mut prefixes, [first, _]) = two_prompts(4);
    prefixes.leave(&pool);
    // One page is free.
    pool.0.lock().unwrap()[1..].fill(1);
    assert_eq!(prefixes.longest(&first, 0, RECALL), (vec![], 2));
    prefixes.bring_back(&pool, &first, 0, RECALL, (0, 2)).unwrap_err();
    assert_eq!((pool.owners(0), prefixes.pages), (1, 1), "the first came back, and is kept");
}
