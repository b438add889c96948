//! What a head may keep. Each pattern is a small description that lowers to a [`SparsePlan`](crate::plan::SparsePlan).
//!
//! All of them keep block 0 (the attention sink), the block before the diagonal and the diagonal itself, and let the
//! final `last_rows` queries see every key.

mod block_cluster;
mod interval_slash;
mod largest;
mod last_rows;
mod top_blocks;
mod triangular;

pub use block_cluster::{BlockCluster, BlockLevels, BlockRule, BlockScore, Selector};
pub(crate) use block_cluster::{key_means, mean_key_logits};
pub use interval_slash::IntervalSlash;
pub use last_rows::LastRows;
pub use top_blocks::TopBlocks;
pub use triangular::Triangular;

use serde::Serialize;
use std::fmt;

/// The pattern of a head, as reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "pattern", rename_all = "snake_case")]
pub enum HeadPattern {
    /// Every pair.
    Dense,
    /// Sink and window.
    Triangular {
        /// Newest positions kept, in the part of a chunk that keeps most.
        window: usize,
        /// Single columns kept outside.
        columns: usize,
    },
    /// Columns and block diagonals.
    IntervalSlash {
        /// Offsets kept in the part of a chunk that keeps most, as merged intervals.
        intervals: usize,
        /// Single columns kept outside.
        columns: usize,
    },
    /// Blocks by row-peak score.
    BlockCluster {
        /// Least score kept, in the part of a chunk that keeps most.
        threshold: f32,
        /// Single columns kept outside.
        columns: usize,
    },
    /// Blocks by pooled score.
    TopBlocks {
        /// Blocks for each tile.
        blocks: usize,
    },
    /// What a plan says that was made before.
    Given,
}

impl HeadPattern {
    /// The kind of pattern, as in serialized form.
    pub fn name(&self) -> &'static str {
        match self {
            HeadPattern::Dense => "dense",
            HeadPattern::Triangular { .. } => "triangular",
            HeadPattern::IntervalSlash { .. } => "interval_slash",
            HeadPattern::BlockCluster { .. } => "block_cluster",
            HeadPattern::TopBlocks { .. } => "top_blocks",
            HeadPattern::Given => "given",
        }
    }
}

/// For people: `window 512 + 64 columns`.
impl fmt::Display for HeadPattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let columns = match self {
            HeadPattern::Dense => return f.write_str("dense"),
            HeadPattern::Given => return f.write_str("given"),
            HeadPattern::TopBlocks { blocks } => return write!(f, "top {blocks} blocks"),
            HeadPattern::Triangular { window, columns } => {
                write!(f, "window {window}")?;
                columns
            }
            HeadPattern::IntervalSlash { intervals, columns } => {
                write!(f, "{intervals} slash{}", if *intervals == 1 { "" } else { "es" })?;
                columns
            }
            HeadPattern::BlockCluster { threshold, columns } => {
                write!(f, "blocks >= {threshold:.4}")?;
                columns
            }
        };
        if *columns > 0 { write!(f, " + {columns} columns") } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod synthetic;
#[cfg(test)]
mod tests;
