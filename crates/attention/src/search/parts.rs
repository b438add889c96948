//! How many rows judge a chunk, and its parts, which are judged each by itself.

use crate::shape::{QueryRange, Tiles};
use crate::simd::LANES;
use std::ops::Range;

/// Judges of each part of a chunk ([`Search::share_of_part`](super::Search::share_of_part)).
pub const JUDGES_OF_PART: usize = LANES;

/// Judging panels for each that proposes.
pub(super) const JUDGING: usize = 4;

/// Panels of probes in all: four, one of them proposing, for a chunk of up to 18,432 rows. So the shortest chunk has 64 judges: of
/// 32, other ones than those that propose, the heads of a text that keep a hundredth less than their goal are up to 10 in 100.
/// What a mean of rows is off by depends on their number, not on how many rows it stands for; four times as long a chunk gets
/// twice as many, since its rows differ more: 128 at 32,768, 256 at 131,072.
pub(super) fn num_panels(range: QueryRange) -> usize {
    // As many times four as the root of the length in 8,192 rows, rounded.
    JUDGING * (1..).find(|n| (2 * n + 1) * (2 * n + 1) * 2048 >= range.q_len()).expect("numbers do not end")
}

/// A chunk cut in parts of as many tiles, or, where there are too few of them, of as many rows.
///
/// What a part keeps is judged by rows of its own tiles, so that each may keep other levels than the next. The parts of a chunk of
/// few tiles share them, and have one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    tiles: Tiles,
}

impl Parts {
    /// With fewer tiles, parts would differ in length by more than a quarter, and what they keep would count for too much or too
    /// little.
    const LEAST_TILES: usize = 4;

    /// The parts of these tiles.
    pub fn of(tiles: Tiles) -> Self {
        Self { tiles }
    }

    /// How many there are.
    pub fn number(self) -> usize {
        num_panels(self.tiles.range()) * LANES / JUDGES_OF_PART
    }

    /// Whether each part may keep other levels.
    pub fn have_own_levels(self) -> bool {
        self.tiles.num_tiles() >= Self::LEAST_TILES * self.number()
    }

    /// The part of a tile, where parts have their own levels.
    pub fn of_tile(self, tile: usize) -> usize {
        tile * self.number() / self.tiles.num_tiles()
    }

    /// The queries of a part.
    pub(super) fn rows(self, part: usize) -> Range<usize> {
        let (q_len, parts) = (self.tiles.range().q_len(), self.number());
        let begin = |part: usize| match self.have_own_levels() {
            true => ((part * self.tiles.num_tiles()).div_ceil(parts) * self.tiles.block_m()).min(q_len),
            false => part * q_len / parts,
        };
        begin(part)..begin(part + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::QueryRange;

    #[test]
    fn rows_of_parts_are_those_of_their_tiles() {
        for (q_len, block_m) in [(1, 64), (700, 64), (1024, 64), (4096, 64), (5000, 128), (9000, 192), (32_768, 192)] {
            let tiles = QueryRange::new(q_len, q_len + 77).unwrap().tiles(block_m).unwrap();
            let parts = Parts::of(tiles);
            let rows: Vec<usize> = (0..parts.number()).flat_map(|part| parts.rows(part)).collect();
            assert_eq!(rows, (0..q_len).collect::<Vec<_>>());
            if parts.have_own_levels() {
                let part_of_row = (0..parts.number()).flat_map(|part| parts.rows(part).map(move |_| part));
                part_of_row.enumerate().for_each(|(row, part)| assert_eq!(parts.of_tile(row / block_m), part));
                let lengths = (0..parts.number()).map(|part| parts.rows(part).len() as f64);
                let mean = q_len as f64 / parts.number() as f64;
                lengths.for_each(|len| assert!((len / mean - 1.0).abs() <= 0.25, "{len} of {q_len}"));
            }
        }
    }
}
