//! Sink and window: static, costs nothing to find.

use crate::plan::SparsePlan;
use crate::shape::Tiles;
use crate::{BLOCK_N, Error};

/// Keeps `j < sink` and `i - j < window`; the last queries keep all, which draws the triangle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triangular {
    /// First positions kept.
    pub sink: usize,
    /// Newest positions kept.
    pub window: usize,
}

impl Triangular {
    /// Blocks that hold a kept pair of the tile (of whose rows the first has the oldest window), and `columns` outside them.
    ///
    /// # Errors
    /// When the columns do not ascend below `kv_len`.
    pub fn plan(&self, tiles: Tiles, last_rows: usize, columns: Vec<u32>, centres: bool) -> Result<SparsePlan, Error> {
        SparsePlan::from_rule(tiles, last_rows, columns, centres, |tile, keep| {
            let first_row = tiles.positions(tile).start;
            let last = keep.len().saturating_sub(1);
            for (block, keep) in keep.iter_mut().enumerate() {
                let newest_key = block * BLOCK_N + BLOCK_N - 1;
                let in_window = first_row - newest_key < self.window;
                *keep = block == 0 || block == last || block * BLOCK_N < self.sink || in_window;
            }
        })
    }
}
