//! The largest share that some row of a tile gives each block: the score of our own search, so written for speed.

use super::BlockLevels;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{LANES, ROW_TILE, Rows, Simd, each_lane, exp2, log2, multiply};
use crate::{Aligned, BLOCK_M, Error};
use half::bf16;

/// Panels that are multiplied with the mean keys at once, or those of one tile where they are more: enough to use each key
/// several times while it is in registers.
const PANELS: usize = BLOCK_M / LANES;

/// # Errors
/// Unless the sampled rows of a tile fill panels.
pub(super) fn check(stride: usize) -> Result<(), Error> {
    match [1, 2, 4].contains(&stride) {
        true => Ok(()),
        false => Err(Error::Parameter { what: "row-peak stride", expected: "1, 2 or 4", found: stride.to_string() }),
    }
}

/// Levels of all tiles, `[tile][num_blocks]`, from every `stride`-th row of each tile.
///
/// A level depends only on the queries of the tile and the keys of the blocks, so any chunking of a prompt gives the same.
pub(super) fn levels(
    simd: Simd,
    stride: usize,
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    tiles: Tiles,
    levels: &mut [u8],
) {
    let dim = queries.heads().padded_dim();
    let block_m = tiles.block_m();
    let panels_of_tile = block_m / (stride * LANES);
    let tiles_at_once = (PANELS / panels_of_tile).max(1);
    let most_panels = tiles_at_once * panels_of_tile;
    let mut sampled = Aligned::zeroed(if stride == 1 { 0 } else { most_panels * queries.panel_len() });
    let mut lse = vec![[f32::INFINITY; LANES]; panels_of_tile];
    let mut logits = Aligned::<f32>::zeroed(most_panels * tiles.num_blocks().next_multiple_of(ROW_TILE) * LANES);
    let mut levels = levels.chunks_exact_mut(tiles.num_blocks());
    for first in (0..tiles.num_tiles()).step_by(tiles_at_once) {
        let end = (first + tiles_at_once).min(tiles.num_tiles());
        let panels = (tiles.range().q_len() - first * block_m).div_ceil(stride * LANES).min(most_panels);
        let q = match stride {
            1 => queries.panels(head, first * block_m / LANES, panels),
            _ => {
                for panel in 0..panels {
                    let out = &mut sampled[panel * queries.panel_len()..][..queries.panel_len()];
                    queries.sample(head, first * block_m + panel * stride * LANES, stride, out);
                }
                &sampled[..panels * queries.panel_len()]
            }
        };
        // Blocks that only the later tiles see are computed for all.
        let rows = tiles.causal_blocks(end - 1).next_multiple_of(ROW_TILE);
        let means = Rows::row_major(&key_means[..rows * dim], rows, dim, dim);
        multiply(simd, means, q, panels, &mut logits, rows * LANES, false);
        for (tile, logits) in (first..end).zip(logits.chunks(panels_of_tile * rows * LANES)) {
            let (seen, len) = (tiles.causal_blocks(tile), tiles.positions(tile).len().div_ceil(stride));
            let panels = logits.chunks_exact(rows * LANES).take(len.div_ceil(LANES));
            for (panel, (logits, lse)) in panels.zip(&mut lse).enumerate() {
                *lse = log_sum_exp(simd, &logits[..seen * LANES], len - panel * LANES);
            }
            let lse = &lse[..len.div_ceil(LANES)];
            let levels = levels.next().expect("one for each tile");
            quantise(simd, logits, rows * LANES, lse, &mut levels[..seen]);
        }
    }
}

crate::multiversion! {
    /// Base-2 logarithms of the sums of `2^logit`, `[block][16]`; infinity in lanes from `valid` on.
    fn log_sum_exp(logits: &[f32], valid: usize) -> [f32; LANES] {
        // Two blocks at a time, so that a maximum or sum waits for itself half as often.
        let (pairs, last) = logits.as_chunks::<{ 2 * LANES }>();
        let mut tops = [f32::NEG_INFINITY; 2 * LANES];
        for logits in pairs {
            for lane in 0..2 * LANES {
                tops[lane] = if logits[lane] > tops[lane] { logits[lane] } else { tops[lane] };
            }
        }
        for (top, logit) in tops.iter_mut().zip(last) {
            *top = if *logit > *top { *logit } else { *top };
        }
        let mut top = [0f32; LANES];
        for lane in 0..LANES {
            let other = tops[LANES + lane];
            top[lane] = if tops[lane] > other { tops[lane] } else { other };
        }
        let mut sums = [0f32; 2 * LANES];
        for logits in pairs {
            for lane in 0..LANES {
                sums[lane] += exp2::<FMA>(logits[lane] - top[lane]);
            }
            for lane in 0..LANES {
                sums[LANES + lane] += exp2::<FMA>(logits[LANES + lane] - top[lane]);
            }
        }
        for ((sum, logit), top) in sums.iter_mut().zip(last).zip(&top) {
            *sum += exp2::<FMA>(logit - top);
        }
        each_lane(|lane| match lane < valid {
            true => top[lane] + log2::<FMA>(sums[lane] + sums[LANES + lane]),
            false => f32::INFINITY,
        })
    }
}

crate::multiversion! {
    /// Levels of the largest share of each block: `logits[panel * stride + block * 16 + lane]` less the row's `lse`.
    fn quantise(logits: &[f32], stride: usize, lse: &[[f32; LANES]], levels: &mut [u8]) {
        for (block, level) in levels.iter_mut().enumerate() {
            let mut peaks = [f32::NEG_INFINITY; LANES];
            for (panel, lse) in lse.iter().enumerate() {
                let logits = &logits[panel * stride + block * LANES..][..LANES];
                peaks = each_lane(|lane| larger(peaks[lane], logits[lane] - lse[lane]));
            }
            let eight: [f32; 8] = std::array::from_fn(|i| larger(peaks[i], peaks[i + 8]));
            let four: [f32; 4] = std::array::from_fn(|i| larger(eight[i], eight[i + 4]));
            let peak = larger(larger(four[0], four[2]), larger(four[1], four[3]));
            // The cast saturates: a share that rounding made larger than 1 is level 0.
            *level = ((-2.0 * peak) as u8).min(BlockLevels::MAX);
        }
    }
}

/// Without the care of [`f32::max`] for what is not a number, so one instruction.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
