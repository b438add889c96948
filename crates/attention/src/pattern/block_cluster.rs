//! Blocks by score: each q tile keeps the blocks that matter to at least one of its rows.

use crate::plan::SparsePlan;
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::{LANES, ROW_TILE, Rows, Simd, exp2, multiply};
use crate::{Aligned, BLOCK_M, BLOCK_N, Error};
use half::bf16;

/// Row-peak score of every (q tile, kv block) of a head, quantised.
///
/// The score of a block is the largest share that some row of the tile gives it in the softmax over block means,
/// `softmax_b(q . mean(k_b) * sm_scale)`: each query against each block's mean key as in FlashPrefill
/// (arXiv 2603.06199), but each row normalised by itself, which kept most attention in our study. A score depends only on
/// the queries of the tile and the keys of the blocks, so any chunking of a prompt gives the same.
///
/// Stored as *levels*: level `n` is a score in `[2^-((n+1)/2), 2^-(n/2))`, capped at [`BlockLevels::MAX`].
pub struct BlockLevels {
    num_blocks: usize,
    levels: Vec<u8>,
}

impl BlockLevels {
    /// Level of every score below `2^-14`.
    pub const MAX: u8 = 28;

    /// Least score of a level or one above it.
    pub fn threshold(level: u8) -> f32 {
        (-(level as f32 + 1.0) / 2.0).exp2()
    }

    /// Scores the tiles of one head. `key_means` are the mean keys of its blocks, `[num_blocks, padded to 16][padded_dim]`.
    pub fn score(simd: Simd, queries: &Queries, head: usize, key_means: &[bf16], range: QueryRange) -> Self {
        let dim = queries.heads().padded_dim();
        let num_blocks = range.num_blocks();
        let mut levels = vec![Self::MAX; range.num_tiles() * num_blocks];
        let tile_panels = BLOCK_M / LANES;
        let mut logits = Aligned::<f32>::zeroed(tile_panels * num_blocks.next_multiple_of(ROW_TILE) * LANES);
        let mut peaks = vec![0f32; num_blocks * LANES];
        for (tile, levels) in levels.chunks_exact_mut(num_blocks).enumerate() {
            let seen = range.causal_blocks(tile);
            let rows = seen.next_multiple_of(ROW_TILE);
            let positions = range.tile_positions(tile);
            let panels = positions.len().div_ceil(LANES);
            let means = Rows::row_major(&key_means[..rows * dim], rows, dim, dim);
            let q = queries.panels(head, tile * tile_panels, panels);
            multiply(simd, means, q, panels, &mut logits, rows * LANES, false);
            let peaks = &mut peaks[..seen * LANES];
            peaks.fill(0.0);
            for (panel, logits) in logits.chunks_exact_mut(rows * LANES).take(panels).enumerate() {
                let valid = (positions.len() - panel * LANES).min(LANES);
                raise_peaks(simd, &mut logits[..seen * LANES], valid, peaks);
            }
            quantise(simd, peaks, levels);
        }
        Self { num_blocks, levels }
    }

    /// Levels of the blocks of a tile.
    pub fn of_tile(&self, tile: usize) -> &[u8] {
        &self.levels[tile * self.num_blocks..][..self.num_blocks]
    }
}

crate::multiversion! {
    /// Turns base-2 logits `[block][16]` of a panel into shares and raises `peaks` to them; lanes from `valid` on count
    /// nothing.
    fn raise_peaks(logits: &mut [f32], valid: usize, peaks: &mut [f32]) {
        let mut top = [f32::NEG_INFINITY; LANES];
        for logits in logits.chunks_exact(LANES) {
            for lane in 0..LANES {
                top[lane] = if logits[lane] > top[lane] { logits[lane] } else { top[lane] };
            }
        }
        let mut sum = [0f32; LANES];
        for logits in logits.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                logits[lane] = exp2::<FMA>(logits[lane] - top[lane]);
                sum[lane] += logits[lane];
            }
        }
        let mut inverse = [0f32; LANES];
        for lane in 0..LANES {
            inverse[lane] = if lane < valid { 1.0 / sum[lane] } else { 0.0 };
        }
        for (logits, peaks) in logits.chunks_exact(LANES).zip(peaks.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                let share = logits[lane] * inverse[lane];
                peaks[lane] = if share > peaks[lane] { share } else { peaks[lane] };
            }
        }
    }
}

crate::multiversion! {
    fn quantise(peaks: &[f32], levels: &mut [u8]) {
        for (peaks, level) in peaks.chunks_exact(LANES).zip(levels) {
            let mut peak = 0f32;
            for lane in 0..LANES {
                peak = if peaks[lane] > peak { peaks[lane] } else { peak };
            }
            // Twice the negative base-2 logarithm, rounded down, is what the exponent of the square says.
            let halves = (126 - ((peak * peak).to_bits() >> 23) as i32).max(0);
            *level = (halves as u8).min(BlockLevels::MAX);
        }
    }
}

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
    pub fn plan(&self, range: QueryRange, last_rows: usize, centres: bool) -> Result<SparsePlan, Error> {
        SparsePlan::from_rule(range, last_rows, self.columns.clone(), centres, |tile, keep| {
            let last = keep.len().saturating_sub(1);
            for (block, (keep, level)) in keep.iter_mut().zip(self.levels.of_tile(tile)).enumerate() {
                *keep = block == 0 || block == last || *level <= self.max_level;
            }
        })
    }
}

const _: () = assert!(BLOCK_N == 64);
