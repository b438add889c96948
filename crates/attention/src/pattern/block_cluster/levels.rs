//! Scores of (q tile, kv block), quantised so that a threshold is a small number.

use super::selector::{BlockRule, BlockScore, Selector};
use super::{antidiagonal, mean_key, row_peak};
use crate::kv::KvView;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{ROW_TILE, Simd};
use crate::{Aligned, Error};
use half::bf16;

/// The level of every (q tile, kv block) of a head: which threshold of the selector's rule still keeps the block.
///
/// Level `n` is a value in `[2^-((n+1)/2), 2^-(n/2))`, where values are 1 for what the rule keeps first
/// ([`BlockRule`]), capped at [`BlockLevels::MAX`]. Keeping levels up to `n` is then the rule with one threshold, and every
/// threshold is tried by counting.
pub struct BlockLevels {
    num_blocks: usize,
    levels: Vec<u8>,
}

impl BlockLevels {
    /// Level of every value below `2^-14`.
    pub const MAX: u8 = 28;

    /// Least value of a level or one above it.
    pub fn threshold(level: u8) -> f32 {
        (-(level as f32 + 1.0) / 2.0).exp2()
    }

    /// Level of a value of at most 1; not a number counts as nothing.
    pub(super) fn of_value(value: f32) -> u8 {
        // Twice the negative base-2 logarithm, rounded down, is what the exponent of the square says.
        let halves = (126 - ((value * value).to_bits() >> 23) as i32).max(0);
        (halves as u8).min(Self::MAX)
    }

    /// Scores the tiles of one head.
    ///
    /// # Errors
    /// When the selector has a stride that its score does not take.
    pub fn measure(
        simd: Simd,
        selector: Selector,
        queries: &Queries,
        head: usize,
        kv: &KvView,
        tiles: Tiles,
    ) -> Result<Self, Error> {
        if let BlockScore::RowPeak { stride } = selector.score {
            row_peak::check(stride)?;
        }
        let key_means = &key_means(kv, kv.heads().kv_head(head));
        let num_blocks = tiles.num_blocks();
        let mut levels = vec![Self::MAX; tiles.num_tiles() * num_blocks];
        let mut tile_levels = levels.chunks_exact_mut(num_blocks);
        let each_tile = |peaks: &[f32]| {
            let levels = tile_levels.next().expect("one call a tile");
            selector.rule.levels(peaks, levels);
        };
        match selector.score {
            BlockScore::RowPeak { stride } if selector.rule == BlockRule::Share => {
                row_peak::levels(simd, stride, queries, head, key_means, tiles, &mut levels)
            }
            BlockScore::Antidiagonal { stride } => {
                antidiagonal::scores(simd, stride, queries, head, kv, tiles, each_tile)?
            }
            BlockScore::Pooled => mean_key::pooled_scores(queries, head, key_means, tiles, each_tile),
            score => mean_key::row_scores(simd, score, queries, head, key_means, tiles, each_tile),
        }
        Ok(Self { num_blocks, levels })
    }

    /// Levels of the blocks of a tile.
    pub fn of_tile(&self, tile: usize) -> &[u8] {
        &self.levels[tile * self.num_blocks..][..self.num_blocks]
    }
}

/// Mean keys of a kv head, `[num_blocks, padded to 16][padded_dim]`.
pub(crate) fn key_means(kv: &KvView, kv_head: usize) -> Aligned<bf16> {
    let dim = kv.heads().padded_dim();
    let mut means = Aligned::<bf16>::zeroed(kv.num_blocks().next_multiple_of(ROW_TILE) * dim);
    for (block, row) in means.chunks_exact_mut(dim).enumerate().take(kv.num_blocks()) {
        for (out, x) in row.iter_mut().zip(kv.key_mean(block, kv_head)) {
            *out = bf16::from_f32(*x);
        }
    }
    means
}
