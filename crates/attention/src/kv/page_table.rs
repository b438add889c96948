//! Whether a page table is one.

use crate::{BLOCK_N, Error};
use std::cell::RefCell;

/// Looks at the pages of the first `blocks` blocks, not at those of others, which may be many.
///
/// # Errors
/// When the table does not reach so far, or names a page twice or one that is not there.
pub(super) fn check(table: &[u32], blocks: usize, num_pages: usize) -> Result<(), Error> {
    let Some(pages) = table.get(..blocks) else {
        return Err(Error::PageTable(format!(
            "{blocks} blocks need as many pages of {BLOCK_N} positions, the table lists {}",
            table.len()
        )));
    };
    if let Some(page) = pages.iter().find(|page| **page as usize >= num_pages) {
        return Err(Error::PageTable(format!("page {page} of {num_pages} pages")));
    }
    match listed_twice(pages) {
        Some(page) => Err(Error::PageTable(format!("page {page} listed twice"))),
        None => Ok(()),
    }
}

thread_local! {
    /// A bit for each page, all unset between checks: a check comes with every layer and token, and shall take no memory.
    static LISTED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn listed_twice(pages: &[u32]) -> Option<u32> {
    let place = |page: u32| (page as usize / 64, 1 << (page % 64));
    LISTED.with_borrow_mut(|listed| {
        let words = pages.iter().max().map_or(0, |last| place(*last).0 + 1);
        if listed.len() < words {
            listed.resize(words, 0);
        }
        let twice = pages.iter().copied().find(|page| {
            let (word, bit) = place(*page);
            let before = listed[word] & bit != 0;
            listed[word] |= bit;
            before
        });
        pages.iter().for_each(|page| listed[place(*page).0] = 0);
        twice
    })
}
