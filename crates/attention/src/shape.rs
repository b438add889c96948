//! Heads and ranges that cannot be wrong.

mod tiles;

use crate::{BLOCK_N, Error};

pub use tiles::Tiles;

/// Head counts and head size of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    num_q_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

impl HeadShape {
    /// # Errors
    /// When the query heads are not a multiple of the kv heads, or `head_dim` is odd, zero or above 512.
    pub fn new(num_q_heads: usize, num_kv_heads: usize, head_dim: usize) -> Result<Self, Error> {
        if num_kv_heads == 0 || num_q_heads == 0 || !num_q_heads.is_multiple_of(num_kv_heads) {
            return Err(Error::Heads { num_q_heads, num_kv_heads });
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > 512 {
            return Err(Error::HeadDim(head_dim));
        }
        Ok(Self { num_q_heads, num_kv_heads, head_dim })
    }

    /// Query heads.
    pub fn num_q_heads(&self) -> usize {
        self.num_q_heads
    }

    /// Kv heads.
    pub fn num_kv_heads(&self) -> usize {
        self.num_kv_heads
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// `head_dim` rounded up to the 32 elements that a product step takes; the rest holds zeros.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(crate::simd::K_STEP)
    }

    /// Query heads that share a kv head.
    pub fn group_size(&self) -> usize {
        self.num_q_heads / self.num_kv_heads
    }

    /// The kv head of a query head.
    pub fn kv_head(&self, q_head: usize) -> usize {
        q_head / self.group_size()
    }

    /// `1 / sqrt(head_dim)`.
    pub fn sm_scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// The queries of one step: the last `q_len` of `kv_len` positions. What lies before them is cached.
///
/// Keys `64 b .. 64 b + 64` are *kv block* `b`; [`tiles`](Self::tiles) cuts the queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRange {
    q_len: usize,
    kv_len: usize,
}

impl QueryRange {
    /// # Errors
    /// Unless `0 < q_len <= kv_len < 2^31`.
    pub fn new(q_len: usize, kv_len: usize) -> Result<Self, Error> {
        if q_len == 0 || q_len > kv_len || kv_len > i32::MAX as usize {
            return Err(Error::Range { q_len, kv_len });
        }
        Ok(Self { q_len, kv_len })
    }

    /// Number of queries.
    pub fn q_len(&self) -> usize {
        self.q_len
    }

    /// Number of keys, the queries' own included.
    pub fn kv_len(&self) -> usize {
        self.kv_len
    }

    /// Position of the first query.
    pub fn q_start(&self) -> usize {
        self.kv_len - self.q_len
    }

    /// Number of kv blocks.
    pub fn num_blocks(&self) -> usize {
        self.kv_len.div_ceil(BLOCK_N)
    }

    /// The queries in tiles of `block_m` rows.
    ///
    /// # Errors
    /// Unless `block_m` is a multiple of 64 from 64 to [`Tiles::MAX_BLOCK_M`].
    pub fn tiles(self, block_m: usize) -> Result<Tiles, Error> {
        Tiles::new(self, block_m)
    }

    /// Causal (query, key) pairs less than `window` positions apart.
    pub fn window_pairs(&self, window: usize) -> u64 {
        // Rows before position `window` see all keys before them.
        let start = self.q_start();
        let growing = window.saturating_sub(start).min(self.q_len);
        let (few, rest) = (growing as u64, (self.q_len - growing) as u64);
        few * start as u64 + few * (few + 1) / 2 + rest * window as u64
    }

    /// Causal (query, key) pairs.
    pub fn causal_pairs(&self) -> u64 {
        let (q, start) = (self.q_len as u64, self.q_start() as u64);
        q * start + q * (q + 1) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be() {
        assert!(matches!(HeadShape::new(9, 2, 64), Err(Error::Heads { .. })));
        assert!(matches!(HeadShape::new(0, 0, 64), Err(Error::Heads { .. })));
        assert!(matches!(HeadShape::new(8, 2, 63), Err(Error::HeadDim(63))));
        assert!(matches!(HeadShape::new(8, 2, 0), Err(Error::HeadDim(0))));
        assert!(matches!(QueryRange::new(0, 4), Err(Error::Range { .. })));
        assert!(matches!(QueryRange::new(5, 4), Err(Error::Range { .. })));
        assert!(matches!(QueryRange::new(1, usize::MAX), Err(Error::Range { .. })));
    }

    #[test]
    fn pairs_of_an_unaligned_range() {
        let range = QueryRange::new(100, 130).unwrap(); // queries 30..130
        assert_eq!(range.num_blocks(), 3);
        let counted: u64 = (30..130).map(|i| i + 1).sum();
        assert_eq!(range.causal_pairs(), counted);
        for window in [1, 20, 31, 32, 77, 130, 1000] {
            let counted: u64 = (30..130).map(|i| (i + 1).min(window)).sum();
            assert_eq!(range.window_pairs(window as usize), counted, "{window}");
        }
    }
}
