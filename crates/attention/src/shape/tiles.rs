//! Queries cut in tiles.

use super::QueryRange;
use crate::{BLOCK_M, BLOCK_N, Error};
use std::ops::Range;

/// A range of queries cut in tiles of `block_m` rows, the last maybe shorter: rows that share one list of kv blocks.
///
/// Rows `block_m * t .. block_m * (t + 1)` of the queries are *q tile* `t`. Tile boundaries count from the first query, block
/// boundaries are absolute positions, so a tile may start anywhere in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    range: QueryRange,
    block_m: usize,
}

impl Tiles {
    /// Most rows of a tile.
    pub const MAX_BLOCK_M: usize = 1024;

    pub(super) fn new(range: QueryRange, block_m: usize) -> Result<Self, Error> {
        if block_m == 0 || !block_m.is_multiple_of(BLOCK_M) || block_m > Self::MAX_BLOCK_M {
            let expected = "a multiple of 64 from 64 to 1024";
            return Err(Error::Parameter { what: "block_m", expected, found: block_m.to_string() });
        }
        Ok(Self { range, block_m })
    }

    /// The units that the CPU kernels work in.
    pub(crate) fn units(range: QueryRange) -> Self {
        Self { range, block_m: BLOCK_M }
    }

    /// The queries.
    pub fn range(&self) -> QueryRange {
        self.range
    }

    /// Rows of a tile.
    pub fn block_m(&self) -> usize {
        self.block_m
    }

    /// Number of q tiles.
    pub fn num_tiles(&self) -> usize {
        self.range.q_len().div_ceil(self.block_m)
    }

    /// Number of kv blocks.
    pub fn num_blocks(&self) -> usize {
        self.range.num_blocks()
    }

    /// Positions of the queries of a tile.
    pub fn positions(&self, tile: usize) -> Range<usize> {
        let start = self.range.q_start() + tile * self.block_m;
        start..(start + self.block_m).min(self.range.kv_len())
    }

    /// Number of leading blocks that every query of the tile sees whole. Blocks from here up to
    /// [`causal_blocks`](Self::causal_blocks) are cut by the diagonal, or lie in the future of some of the queries.
    pub fn full_blocks(&self, tile: usize) -> usize {
        (self.positions(tile).start + 1) / BLOCK_N
    }

    /// Number of blocks of which some query of the tile sees a key.
    pub fn causal_blocks(&self, tile: usize) -> usize {
        self.positions(tile).end.div_ceil(BLOCK_N)
    }

    /// Blocks from a block to that of the tile's first query.
    pub fn distance(&self, tile: usize, block: usize) -> usize {
        self.positions(tile).start / BLOCK_N - block
    }

    /// Whether one of the last `last_rows` queries is in the tile.
    pub fn has_last_rows(&self, tile: usize, last_rows: usize) -> bool {
        self.positions(tile).end.saturating_add(last_rows) > self.range.kv_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_and_blocks_of_an_unaligned_range() {
        let tiles = QueryRange::new(100, 130).unwrap().tiles(64).unwrap(); // queries 30..130
        assert_eq!((tiles.num_tiles(), tiles.num_blocks()), (2, 3));
        assert_eq!(tiles.positions(1), 94..130);
        assert_eq!((tiles.full_blocks(0), tiles.causal_blocks(0)), (0, 2));
        assert_eq!((tiles.full_blocks(1), tiles.causal_blocks(1)), (1, 3));
    }

    #[test]
    fn blocks_of_every_height_are_those_of_the_definition() {
        for (q_len, kv_len) in [(1, 1), (1, 64), (65, 128), (300, 300), (257, 600), (1000, 1063)] {
            for block_m in [64, 128, 192, 1024] {
                let range = QueryRange::new(q_len, kv_len).unwrap();
                let tiles = range.tiles(block_m).unwrap();
                let rows: Vec<usize> = (0..tiles.num_tiles()).flat_map(|tile| tiles.positions(tile)).collect();
                assert_eq!(rows, (range.q_start()..kv_len).collect::<Vec<_>>());
                for tile in 0..tiles.num_tiles() {
                    let (rows, blocks) = (tiles.positions(tile), 0..tiles.num_blocks());
                    let whole = blocks.clone().filter(|b| rows.clone().all(|i| b * 64 + 63 <= i)).count();
                    let seen = blocks.filter(|b| rows.clone().any(|i| b * 64 <= i)).count();
                    assert_eq!((tiles.full_blocks(tile), tiles.causal_blocks(tile)), (whole, seen));
                }
            }
        }
    }

    #[test]
    fn refuses_heights_that_no_kernel_has() {
        let range = QueryRange::new(10, 20).unwrap();
        for block_m in [0, 1, 63, 96, 1088, usize::MAX] {
            assert!(matches!(range.tiles(block_m), Err(Error::Parameter { what: "block_m", .. })), "{block_m}");
        }
        assert!([64, 128, 192, 1024].iter().all(|block_m| range.tiles(*block_m).is_ok()));
    }
}
