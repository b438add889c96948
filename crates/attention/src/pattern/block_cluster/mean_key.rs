//! Scores from the mean key of each block.

use super::{BlockLevels, BlockScore};
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::{LANES, ROW_TILE, Rows, Simd, exp2, log2, multiply};
use crate::{Aligned, BLOCK_M, BLOCK_N};
use half::bf16;

/// The largest share that some row of each tile gives each block, as levels. The score of our own search: as
/// [`row_scores`], but nothing is stored between softmax and level.
///
/// A score depends only on the queries of the tile and the keys of the blocks, so any chunking of a prompt gives the same.
pub(super) fn row_peak_levels(
    simd: Simd,
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    range: QueryRange,
    levels: &mut [u8],
) {
    let mut peaks = vec![0f32; range.num_blocks() * LANES];
    let mut levels = levels.chunks_exact_mut(range.num_blocks());
    mean_key_logits(simd, queries, head, key_means, range, |seen, panels| {
        let peaks = &mut peaks[..seen * LANES];
        peaks.fill(f32::NEG_INFINITY);
        for (valid, logits) in panels {
            raise_peaks(simd, logits, valid, peaks);
        }
        quantise(simd, peaks, levels.next().expect("one call a tile"));
    });
}

/// Scores of every tile that come from all of its rows.
pub(super) fn row_scores(
    simd: Simd,
    score: BlockScore,
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    range: QueryRange,
    mut use_tile: impl FnMut(&[f32]),
) {
    mean_key_logits(simd, queries, head, key_means, range, |seen, panels| {
        let mut scores = vec![0f32; seen];
        let panels: Vec<(usize, &mut [f32])> = panels.collect();
        let top = panels.iter().flat_map(|(valid, logits)| logits.chunks_exact(LANES).flat_map(|l| &l[..*valid]));
        let top = top.copied().fold(f32::NEG_INFINITY, f32::max);
        for (valid, logits) in panels {
            for lane in 0..valid {
                let of_row = || logits.iter().skip(lane).step_by(LANES).copied();
                let own_top = of_row().fold(f32::NEG_INFINITY, f32::max);
                let own_sum: f32 = of_row().map(|x| (x - own_top).exp2()).sum();
                for (score_of_block, x) in scores.iter_mut().zip(of_row()) {
                    match score {
                        BlockScore::RowPeak => *score_of_block = score_of_block.max((x - own_top).exp2() / own_sum),
                        BlockScore::TileMass => *score_of_block += (x - top).exp2(),
                        _ => *score_of_block += (x - own_top).exp2() / own_sum,
                    }
                }
            }
        }
        if score != BlockScore::RowPeak {
            let sum: f32 = scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            scores.iter_mut().for_each(|score| *score /= sum);
        }
        use_tile(&scores);
    });
}

/// Softmax over blocks of each tile's mean query.
pub(super) fn pooled_scores(
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    range: QueryRange,
    mut use_tile: impl FnMut(&[f32]),
) {
    let dim = queries.heads().padded_dim();
    let mut lane = vec![bf16::ZERO; queries.panel_len()];
    for tile in 0..range.num_tiles() {
        let rows = tile * BLOCK_M..(tile * BLOCK_M + BLOCK_M).min(range.q_len());
        let mut mean = vec![0f32; dim];
        for row in rows.clone() {
            queries.copy_row(head, row, 0, &mut lane);
            for (mean, pair) in mean.chunks_exact_mut(2).zip(lane.chunks_exact(2 * LANES)) {
                (mean[0], mean[1]) = (mean[0] + pair[0].to_f32(), mean[1] + pair[1].to_f32());
            }
        }
        mean.iter_mut().for_each(|x| *x /= rows.len() as f32);
        let means = key_means.chunks_exact(dim).take(range.causal_blocks(tile));
        let mut scores: Vec<f32> = means.map(|key| key.iter().zip(&mean).map(|(k, q)| k.to_f32() * q).sum()).collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|x| *x = (*x - top).exp2());
        let sum: f32 = scores.iter().sum();
        scores.iter_mut().for_each(|x| *x /= sum);
        use_tile(&scores);
    }
}

/// Base-2 logits of each tile's rows with the mean keys of the blocks it sees: the number of blocks, and for each panel
/// the number of its lanes that are rows and the logits `[block][16]`.
pub(crate) fn mean_key_logits(
    simd: Simd,
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    range: QueryRange,
    mut use_tile: impl FnMut(usize, &mut dyn Iterator<Item = (usize, &mut [f32])>),
) {
    const PANELS: usize = BLOCK_M / LANES;
    let dim = queries.heads().padded_dim();
    let mut logits = Aligned::<f32>::zeroed(PANELS * range.num_blocks().next_multiple_of(ROW_TILE) * LANES);
    for tile in 0..range.num_tiles() {
        let seen = range.causal_blocks(tile);
        let rows = seen.next_multiple_of(ROW_TILE);
        let len = range.tile_positions(tile).len();
        let panels = len.div_ceil(LANES);
        let means = Rows::row_major(&key_means[..rows * dim], rows, dim, dim);
        multiply(simd, means, queries.panels(head, tile * PANELS, panels), panels, &mut logits, rows * LANES, false);
        let panels = logits.chunks_exact_mut(rows * LANES).take(panels).enumerate();
        use_tile(
            seen,
            &mut panels.map(|(panel, logits)| ((len - panel * LANES).min(LANES), &mut logits[..seen * LANES])),
        );
    }
}

crate::multiversion! {
    /// Raises `peaks`, base-2 logarithms of shares, to those of a panel with the logits `[block][16]`; lanes from `valid`
    /// on count nothing.
    fn raise_peaks(logits: &[f32], valid: usize, peaks: &mut [f32]) {
        // Two blocks at a time, so that a maximum or sum waits for itself half as often.
        let (pairs, last) = logits.split_at(logits.len() / (2 * LANES) * 2 * LANES);
        let mut tops = [f32::NEG_INFINITY; 2 * LANES];
        for logits in pairs.chunks_exact(2 * LANES) {
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
        for logits in pairs.chunks_exact(2 * LANES) {
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
        let mut lse = [0f32; LANES];
        for lane in 0..LANES {
            lse[lane] = top[lane] + log2::<FMA>(sums[lane] + sums[LANES + lane]);
            lse[lane] = if lane < valid { lse[lane] } else { f32::INFINITY };
        }
        for (logits, peaks) in logits.chunks_exact(LANES).zip(peaks.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                let share = logits[lane] - lse[lane];
                peaks[lane] = if share > peaks[lane] { share } else { peaks[lane] };
            }
        }
    }
}

crate::multiversion! {
    fn quantise(peaks: &[f32], levels: &mut [u8]) {
        for (peaks, level) in peaks.chunks_exact(LANES).zip(levels) {
            let mut peak = f32::NEG_INFINITY;
            for lane in 0..LANES {
                peak = if peaks[lane] > peak { peaks[lane] } else { peak };
            }
            // The cast saturates: a share that rounding made larger than 1 is level 0.
            *level = ((-2.0 * peak) as u8).min(BlockLevels::MAX);
        }
    }
}

const _: () = assert!(BLOCK_M == BLOCK_N);
