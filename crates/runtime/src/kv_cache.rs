//! Keys and values of running sequences, in pages shared by all layers.

use crate::ops::{Ops, OpsError};
use crate::sequence::Sequence;
use attention::BLOCK_N;
use attention::shape::HeadShape;

/// Pages of every layer and who owns them. A page number means the same 64 positions in each layer, so a sequence has
/// one page table.
pub struct KvCache<O: Ops> {
    layers: Vec<O::KvPages>,
    free: Vec<u32>,
}

/// The cache has no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kv cache has {free} free pages of {BLOCK_N} tokens, {needed} more are needed")]
pub struct CacheFull {
    /// Pages free.
    pub free: usize,
    /// Pages needed.
    pub needed: usize,
}

impl<O: Ops> KvCache<O> {
    /// Room for `tokens` tokens in `num_layers` layers.
    ///
    /// # Errors
    /// When the device has none.
    pub fn new(ops: &O, heads: HeadShape, num_layers: usize, tokens: usize) -> Result<Self, OpsError> {
        let pages = tokens.div_ceil(BLOCK_N);
        Ok(Self {
            layers: (0..num_layers).map(|_| ops.kv_pages(heads, pages)).collect::<Result<_, _>>()?,
            free: (0..pages as u32).rev().collect(),
        })
    }

    /// Makes room in `sequence` for `tokens` more tokens.
    ///
    /// # Errors
    /// [`CacheFull`]; the sequence keeps what it had.
    pub fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), CacheFull> {
        let needed = (sequence.len() + tokens).div_ceil(BLOCK_N).saturating_sub(sequence.table().len());
        if needed > self.free.len() {
            return Err(CacheFull { free: self.free.len(), needed });
        }
        sequence.own(self.free.drain(self.free.len() - needed..).rev());
        Ok(())
    }

    /// Takes the pages of a sequence back.
    pub fn release(&mut self, sequence: Sequence) {
        self.free.extend(sequence.into_table().into_iter().rev());
    }

    /// Pages of one layer.
    pub fn layer_mut(&mut self, layer: usize) -> &mut O::KvPages {
        &mut self.layers[layer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use attention::simd::Simd;

    #[test]
    fn pages_are_owned_once_and_come_back() {
        let heads = HeadShape::new(2, 1, 32).unwrap();
        let mut cache = KvCache::new(&Cpu::new(Simd::detect()), heads, 3, 4 * BLOCK_N).unwrap();
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
        cache.release(b);
        cache.reserve(&mut a, 1).unwrap();
        assert_eq!(a.table().len(), 3);
    }
}
