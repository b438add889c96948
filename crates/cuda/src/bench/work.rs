//! Counting what was computed: arithmetic, and no device.

use crate::Error;
use crate::kv::KvPages;
use attention::BLOCK_N;
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::shape::{HeadShape, QueryRange};

/// (query, key) pairs, all heads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Of listed blocks, those that the diagonal cuts counted whole, since their products are; or the causal pairs of what is dense.
    pub blocks: u64,
    /// Columns outside listed blocks, and centres.
    pub extras: u64,
}

impl Work {
    /// Every causal pair.
    pub fn dense(heads: HeadShape, range: QueryRange) -> Self {
        Self { blocks: heads.num_q_heads() as u64 * range.causal_pairs(), extras: 0 }
    }

    /// What a plan computes of these queries.
    ///
    /// # Errors
    /// None for plans that passed their own checks.
    pub fn of(plan: &Plan, range: QueryRange) -> Result<Self, Error> {
        let mut work = Self::default();
        for head in &plan.heads {
            let HeadPlan::Sparse(sparse) = head else {
                work.blocks += head.pairs(range);
                continue;
            };
            let rows_of = |tile: usize| sparse.tiles().positions(tile).len();
            work.blocks += (0..sparse.num_tiles())
                .map(|tile| (rows_of(tile) * sparse.blocks(tile).len() * BLOCK_N) as u64)
                .sum::<u64>();
            if sparse.centres() || !sparse.columns().is_empty() {
                let (indptr, indices) = (sparse.indptr().to_vec(), sparse.indices().to_vec());
                let bare = SparsePlan::new(sparse.tiles(), indptr, indices, Vec::new(), false)?;
                work.extras += head.pairs(range) - HeadPlan::Sparse(bare).pairs(range);
            }
        }
        Ok(work)
    }

    /// Operations in 10^12 a second, 4 head_dim a pair, without and with the extras.
    pub fn tflops(self, head_dim: usize, ms: f64) -> [f64; 2] {
        [self.blocks, self.blocks + self.extras].map(|pairs| 4.0 * head_dim as f64 * pairs as f64 / ms / 1e9)
    }
}

/// Keys and values that decoding reads, 10^9 bytes a second.
pub(super) fn gb_per_s(heads: HeadShape, sequences: usize, keys: usize, ms: f64) -> f64 {
    let bytes_a_key = KvPages::page_bytes(heads, BLOCK_N) as f64 / BLOCK_N as f64;
    sequences as f64 * keys as f64 * bytes_a_key / ms / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> HeadShape {
        HeadShape::new(2, 1, 128).unwrap()
    }

    #[test]
    fn dense_counts_causal_pairs() {
        let range = QueryRange::new(100, 130).unwrap();
        let pairs = 2 * (31..=130).sum::<u64>();
        assert_eq!(Work::dense(heads(), range), Work { blocks: pairs, extras: 0 });
        assert_eq!(Work::of(&Plan::dense(2), range).unwrap(), Work { blocks: pairs, extras: 0 });
    }

    #[test]
    fn a_known_plan() {
        // Four tiles of 64 queries, of which the last leaves out blocks 1 and 2.
        let range = QueryRange::new(256, 256).unwrap();
        let tiles = range.tiles(64).unwrap();
        let lists = |columns, centres| {
            let plan = SparsePlan::new(tiles, vec![0, 1, 3, 6, 8], vec![0, 0, 1, 0, 1, 2, 0, 3], columns, centres);
            Plan { heads: vec![HeadPlan::Sparse(plan.unwrap()), HeadPlan::Dense] }
        };
        let dense_head = range.causal_pairs();
        let blocks = 8 * 64 * 64 + dense_head;
        assert_eq!(Work::of(&lists(vec![], false), range).unwrap(), Work { blocks, extras: 0 });
        // Of the columns one lies in a block that is left out; each left-out block has a centre.
        assert_eq!(Work::of(&lists(vec![3, 70], false), range).unwrap(), Work { blocks, extras: 64 });
        assert_eq!(Work::of(&lists(vec![3, 70], true), range).unwrap(), Work { blocks, extras: 3 * 64 });
    }

    #[test]
    fn tflops_count_four_operations_an_element() {
        let work = Work { blocks: 1_000_000_000, extras: 500_000_000 };
        // 4 * 128 * 10^9 operations in a millisecond.
        let [without, with] = work.tflops(128, 1.0);
        assert!((without - 512.0).abs() < 1e-9 && (with - 768.0).abs() < 1e-9, "{without} {with}");
    }

    #[test]
    fn decoding_reads_keys_and_values() {
        // 2 * 1 * 128 * 2 bytes a key, of 2 * 1000 keys, in a microsecond.
        assert!((gb_per_s(heads(), 2, 1000, 1e-3) - 1024.0).abs() < 1e-9);
    }
}
