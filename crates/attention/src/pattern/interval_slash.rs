//! Vertical columns and slash lines merged into intervals of offsets (the paper's interval-slash; MInference's
//! vertical-slash, arXiv 2407.02490).

use crate::plan::SparsePlan;
use crate::shape::Tiles;
use crate::{BLOCK_N, Error};
use std::ops::Range;

/// Keeps `j` in `vertical_indices` and `i - j` in one of `slash_offsets`.
///
/// Slashes lower to the blocks they touch; vertical columns stay single columns outside those blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalSlash {
    /// Key positions, strictly ascending.
    pub vertical_indices: Vec<u32>,
    /// Intervals of `i - j`.
    pub slash_offsets: Vec<Range<usize>>,
}

impl IntervalSlash {
    /// # Errors
    /// When the vertical indices do not ascend below `kv_len`.
    pub fn plan(&self, tiles: Tiles, last_rows: usize, centres: bool) -> Result<SparsePlan, Error> {
        let slashes = disjoint(self.slash_offsets.clone());
        SparsePlan::from_rule(tiles, last_rows, self.vertical_indices.clone(), centres, |tile, keep| {
            let rows = tiles.positions(tile);
            let last = keep.len().saturating_sub(1);
            for (block, keep) in keep.iter_mut().enumerate() {
                // The offsets between some row of the tile and some key of the block.
                let nearest = rows.start - (block * BLOCK_N + BLOCK_N - 1);
                let farthest = rows.end - 1 - block * BLOCK_N;
                let begun = slashes.partition_point(|slash| slash.start <= farthest);
                let touched = slashes[..begun].last().is_some_and(|slash| nearest < slash.end);
                *keep = block == 0 || block == last || touched;
            }
        })
    }

    /// Intervals whose slashes touch exactly the blocks at the given distances `tile - block`, where tiles have 64
    /// rows and start where blocks do: offset `64 n` joins a row only to keys `n` blocks back.
    pub fn intervals_of_distances(distances: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
        let mut distances: Vec<usize> = distances.into_iter().collect();
        distances.sort_unstable();
        distances.dedup();
        let mut intervals: Vec<Range<usize>> = Vec::new();
        for distance in distances {
            let offset = distance * BLOCK_N;
            match intervals.last_mut() {
                Some(last) if last.end + BLOCK_N == offset + 1 => last.end = offset + 1,
                _ => intervals.push(offset..offset + 1),
            }
        }
        intervals
    }
}

/// Ascending, apart, none empty: then the last interval that begins before a place is also the last that ends there.
fn disjoint(mut intervals: Vec<Range<usize>>) -> Vec<Range<usize>> {
    intervals.retain(|interval| !interval.is_empty());
    intervals.sort_unstable_by_key(|interval| interval.start);
    intervals.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
    intervals
}
