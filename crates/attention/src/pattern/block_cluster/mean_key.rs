//! Scores from the mean key of each block.

use super::BlockScore;
use crate::Aligned;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{LANES, ROW_TILE, Rows, Simd, multiply};
use half::bf16;

/// Scores of every tile that come from its single rows.
pub(super) fn row_scores(
    simd: Simd,
    score: BlockScore,
    queries: &Queries,
    head: usize,
    key_means: &[bf16],
    tiles: Tiles,
    mut use_tile: impl FnMut(&[f32]),
) {
    mean_key_logits(simd, queries, head, key_means, tiles, |seen, panels| {
        let mut scores = vec![0f32; seen];
        let panels: Vec<(usize, &mut [f32])> = panels.collect();
        let row_stride = if let BlockScore::RowPeak { stride } = score { stride } else { 1 };
        let top = panels.iter().flat_map(|(valid, logits)| logits.chunks_exact(LANES).flat_map(|l| &l[..*valid]));
        let top = top.copied().fold(f32::NEG_INFINITY, f32::max);
        for (valid, logits) in panels {
            for lane in (0..valid).step_by(row_stride) {
                let of_row = || logits.iter().skip(lane).step_by(LANES).copied();
                let own_top = of_row().fold(f32::NEG_INFINITY, f32::max);
                let own_sum: f32 = of_row().map(|x| (x - own_top).exp2()).sum();
                for (score_of_block, x) in scores.iter_mut().zip(of_row()) {
                    match score {
                        BlockScore::RowPeak { .. } => {
                            *score_of_block = score_of_block.max((x - own_top).exp2() / own_sum)
                        }
                        BlockScore::TileMass => *score_of_block += (x - top).exp2(),
                        _ => *score_of_block += (x - own_top).exp2() / own_sum,
                    }
                }
            }
        }
        if !matches!(score, BlockScore::RowPeak { .. }) {
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
    tiles: Tiles,
    mut use_tile: impl FnMut(&[f32]),
) {
    let dim = queries.heads().padded_dim();
    let mut lane = vec![bf16::ZERO; queries.panel_len()];
    for tile in 0..tiles.num_tiles() {
        let rows = tile * tiles.block_m()..((tile + 1) * tiles.block_m()).min(tiles.range().q_len());
        let mut mean = vec![0f32; dim];
        for row in rows.clone() {
            queries.copy_row(head, row, 0, &mut lane);
            for (mean, pair) in mean.chunks_exact_mut(2).zip(lane.chunks_exact(2 * LANES)) {
                (mean[0], mean[1]) = (mean[0] + pair[0].to_f32(), mean[1] + pair[1].to_f32());
            }
        }
        mean.iter_mut().for_each(|x| *x /= rows.len() as f32);
        let means = key_means.chunks_exact(dim).take(tiles.causal_blocks(tile));
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
    tiles: Tiles,
    mut use_tile: impl FnMut(usize, &mut dyn Iterator<Item = (usize, &mut [f32])>),
) {
    let tile_panels = tiles.block_m() / LANES;
    let dim = queries.heads().padded_dim();
    let mut logits = Aligned::<f32>::zeroed(tile_panels * tiles.num_blocks().next_multiple_of(ROW_TILE) * LANES);
    for tile in 0..tiles.num_tiles() {
        let seen = tiles.causal_blocks(tile);
        let rows = seen.next_multiple_of(ROW_TILE);
        let len = tiles.positions(tile).len();
        let panels = len.div_ceil(LANES);
        let means = Rows::row_major(&key_means[..rows * dim], rows, dim, dim);
        multiply(
            simd,
            means,
            queries.panels(head, tile * tile_panels, panels),
            panels,
            &mut logits,
            rows * LANES,
            false,
        );
        let panels = logits.chunks_exact_mut(rows * LANES).take(panels).enumerate();
        use_tile(
            seen,
            &mut panels.map(|(panel, logits)| ((len - panel * LANES).min(LANES), &mut logits[..seen * LANES])),
        );
    }
}
