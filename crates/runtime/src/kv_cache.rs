//! Keys and values of running sequences, in pages shared by all layers.

use crate::layer_pages::LayerPages;
use crate::ops::{Ops, OpsError};
use crate::sequence::{CacheFull, Sequence};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A pool of pages of every layer, and how many have each. A page number means the same 64 positions in each layer, so a sequence
/// has one page table.
///
/// A page that several have is full, and nobody writes to it: sequences that begin alike share the full pages of their beginning, and
/// write to pages of their own behind it. So nothing is ever copied, and a layer may be asked for between two layers of others.
pub struct KvCache<O: Ops> {
    heads: HeadShape,
    layers: Vec<LayerPages<O::KvPages>>,
    book: Mutex<Book>,
}

/// Who has which page.
struct Book {
    /// The page given back last is taken first: those that were never written take no memory.
    free: Vec<u32>,
    /// Of each page.
    owners: Vec<u32>,
}

impl<O: Ops> KvCache<O> {
    /// Room for `tokens` tokens in `num_layers` layers.
    ///
    /// # Errors
    /// When the device has none.
    pub fn new(ops: &O, heads: HeadShape, num_layers: usize, tokens: usize) -> Result<Self, OpsError> {
        let pages = tokens.div_ceil(BLOCK_N);
        let layer = |_| Ok(LayerPages::new(ops.kv_pages(heads, pages)?));
        Ok(Self {
            heads,
            layers: (0..num_layers).map(layer).collect::<Result<_, OpsError>>()?,
            book: Mutex::new(Book { free: (0..pages as u32).rev().collect(), owners: vec![0; pages] }),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that nobody has.
    pub fn free_pages(&self) -> usize {
        self.book().free.len()
    }

    /// All pages.
    pub fn num_pages(&self) -> usize {
        self.book().owners.len()
    }

    /// How many have a page.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn owners(&self, page: u32) -> u32 {
        self.book().owners[page as usize]
    }

    /// Makes room in `sequence` for `tokens` more tokens.
    ///
    /// # Errors
    /// [`CacheFull`]; the sequence keeps what it had.
    pub fn reserve(&self, sequence: &mut Sequence, tokens: usize) -> Result<(), CacheFull> {
        let Book { free, owners } = &mut *self.book();
        let needed = (sequence.len() + tokens).div_ceil(BLOCK_N).saturating_sub(sequence.table().len());
        if needed > free.len() {
            return Err(CacheFull { free: free.len(), needed });
        }
        let pages = free.split_off(free.len() - needed);
        pages.iter().for_each(|page| owners[*page as usize] = 1);
        sequence.own(pages.into_iter().rev());
        Ok(())
    }

    /// One more has these pages, which somebody has.
    ///
    /// # Panics
    /// When nobody has one of them.
    pub fn share(&self, pages: &[u32]) {
        let mut book = self.book();
        for page in pages {
            let owners = &mut book.owners[*page as usize];
            assert!(*owners > 0, "page {page} is nobody's: what is in it may be anybody's");
            *owners += 1;
        }
    }

    /// One fewer has these pages; those that nobody has any more are free.
    ///
    /// # Panics
    /// When nobody had one of them.
    pub fn release(&self, pages: &[u32]) {
        let Book { free, owners } = &mut *self.book();
        for page in pages.iter().rev() {
            let owners = &mut owners[*page as usize];
            *owners = owners.checked_sub(1).expect("only what somebody has can be given back");
            if *owners == 0 {
                free.push(*page);
            }
        }
    }

    /// A copy of a full page on the host; the page stays whose it is.
    ///
    /// # Errors
    /// When the host has no room, and what the device says.
    pub fn copy_to_host(&self, ops: &O, page: u32) -> Result<O::PageOnHost, OpsError> {
        let mut copy = ops.page_on_host(self.heads, self.layers.len())?;
        for layer in 0..self.layers.len() {
            ops.copy_to_host(&self.layer(layer).lock(), page, &mut copy, layer)?;
        }
        Ok(copy)
    }

    /// A page of its own for what was copied to the host, that its caller has.
    ///
    /// # Errors
    /// When no page is free, and what the device says.
    pub fn copy_from_host(&self, ops: &O, copy: &O::PageOnHost) -> Result<u32, OpsError> {
        let page = {
            let Book { free, owners } = &mut *self.book();
            let page = free.pop().ok_or(CacheFull { free: 0, needed: 1 })?;
            owners[page as usize] = 1;
            page
        };
        for layer in 0..self.layers.len() {
            if let Err(error) = ops.copy_from_host(copy, layer, &mut self.layer(layer).lock(), page) {
                self.release(&[page]);
                return Err(error);
            }
        }
        Ok(page)
    }

    /// Whether others have pages that positions from `len` on of a sequence would be written to.
    pub(crate) fn is_shared_behind(&self, sequence: &Sequence, len: usize) -> bool {
        sequence.table()[len / BLOCK_N..].iter().any(|page| self.owners(*page) > 1)
    }

    /// Pages of one layer.
    pub fn layer(&self, layer: usize) -> &LayerPages<O::KvPages> {
        &self.layers[layer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use attention::simd::Simd;

    fn cache(pages: usize) -> KvCache<Cpu> {
        let heads = HeadShape::new(2, 1, 32).unwrap();
        KvCache::new(&Cpu::new(Simd::detect()), heads, 3, pages * BLOCK_N).unwrap()
    }

    #[test]
    fn pages_are_owned_once_and_come_back() {
        let cache = cache(4);
        let (mut a, mut b) = (Sequence::default(), Sequence::default());
        cache.reserve(&mut a, 65).unwrap();
        cache.reserve(&mut b, 100).unwrap();
        a.advance(65);
        cache.reserve(&mut a, 63).unwrap();
        let mut owned = [a.table(), b.table()].concat();
        owned.sort();
        assert_eq!(owned, [0, 1, 2, 3]);
        a.advance(63);
        assert_eq!(cache.reserve(&mut a, 1), Err(CacheFull { free: 0, needed: 1 }));
        assert_eq!(a.table().len(), 2);
        cache.release(b.table());
        cache.reserve(&mut a, 1).unwrap();
        assert_eq!(a.table().len(), 3);
    }

    #[test]
    fn a_shared_page_is_free_once_its_last_owner_gives_it_back() {
        let cache = cache(4);
        let mut a = Sequence::default();
        cache.reserve(&mut a, 130).unwrap();
        a.advance(130);
        let shared = a.table()[..2].to_vec();
        cache.share(&shared);
        let mut b = Sequence::behind(200, shared.clone());
        assert_eq!((b.len(), b.prompt_len()), (128, 200));
        assert_eq!(cache.reserve(&mut b, 72), Err(CacheFull { free: 1, needed: 2 }));
        cache.reserve(&mut b, 64).unwrap();
        assert!(a.table()[2] != b.table()[2], "what is written is one's own");
        assert!(cache.is_shared_behind(&b, 127) && !cache.is_shared_behind(&b, 128));
        cache.release(a.table());
        assert_eq!(cache.free_pages(), 1);
        cache.share(&shared[..1]);
        cache.release(b.table());
        assert_eq!((cache.free_pages(), cache.owners(shared[0])), (3, 1));
        cache.release(&shared[..1]);
        assert_eq!(cache.free_pages(), cache.num_pages());
    }
}
