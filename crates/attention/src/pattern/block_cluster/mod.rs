//! Blocks by score: each q tile keeps the blocks that a selector ranks high.

mod antidiagonal;
mod levels;
mod mean_key;
mod row_peak;
mod selector;

use crate::Error;
use crate::plan::SparsePlan;
use crate::shape::Tiles;

pub use levels::BlockLevels;
pub(crate) use levels::key_means;
pub(crate) use mean_key::mean_key_logits;
pub use selector::{BlockRule, BlockScore, Selector};

/// Keeps the blocks whose score reaches a level, and single columns outside them.
pub struct BlockCluster<'a> {
    /// Scores of the head.
    pub levels: &'a BlockLevels,
    /// Levels up to this are kept.
    pub max_level: u8,
    /// Key positions, strictly ascending.
    pub columns: Vec<u32>,
}

impl BlockCluster<'_> {
    /// # Errors
    /// When the columns do not ascend below `kv_len`.
    pub fn plan(&self, tiles: Tiles, last_rows: usize, centres: bool) -> Result<SparsePlan, Error> {
        SparsePlan::from_rule(tiles, last_rows, self.columns.clone(), centres, |tile, keep| {
            let last = keep.len().saturating_sub(1);
            for (block, (keep, level)) in keep.iter_mut().zip(self.levels.of_tile(tile)).enumerate() {
                *keep = block == 0 || block == last || *level <= self.max_level;
            }
        })
    }
}

#[cfg(test)]
mod tests;
