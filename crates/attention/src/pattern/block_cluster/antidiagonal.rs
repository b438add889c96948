//! Sums over antidiagonals (XAttention, arXiv 2503.16428).
//!
//! `stride` query rows side by side are one long row in descending order, `stride` keys one long key in ascending order;
//! their product is the sum of the logits on one antidiagonal of a `stride x stride` cell. The softmax over cells, summed
//! over the cells of a (tile, block), is the score.

use crate::kv::KvView;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{LANES, ROW_TILE, Rows, Simd, multiply};
use crate::{Aligned, BLOCK_N, Error};
use half::bf16;

/// Scores of every tile of a head, shares that sum to 1 a tile.
pub(super) fn scores(
    simd: Simd,
    stride: usize,
    queries: &Queries,
    head: usize,
    kv: &KvView,
    tiles: Tiles,
    mut use_tile: impl FnMut(&[f32]),
) -> Result<(), Error> {
    if stride < BLOCK_N / ROW_TILE || !BLOCK_N.is_multiple_of(stride) {
        let expected = "a power of two from 4 to 64";
        return Err(Error::Parameter { what: "antidiagonal stride", expected, found: stride.to_string() });
    }
    let cells = BLOCK_N / stride;
    let (block_m, rows_of_tile) = (tiles.block_m(), tiles.block_m() / stride);
    let tiles_at_once = (LANES / rows_of_tile).max(1);
    let panels = (tiles_at_once * rows_of_tile).div_ceil(LANES);
    let cell_len = stride * kv.heads().padded_dim();
    let keys = long_keys(kv, kv.heads().kv_head(head));
    let mut q = Aligned::<bf16>::zeroed(panels * LANES * cell_len);
    for first_tile in (0..tiles.num_tiles()).step_by(tiles_at_once) {
        q.fill(bf16::ZERO);
        let long_rows = (first_tile * block_m..tiles.range().q_len()).step_by(stride).take(panels * LANES);
        for (n, row) in long_rows.enumerate() {
            let panel = &mut q[n / LANES * LANES * cell_len..][..LANES * cell_len];
            for (part, q) in panel.chunks_exact_mut(queries.panel_len()).enumerate() {
                let row = row + stride - 1 - part;
                if row < tiles.range().q_len() {
                    queries.copy_row(head, row, n % LANES, q);
                }
            }
        }
        let last_tile = (first_tile + tiles_at_once).min(tiles.num_tiles()) - 1;
        let seen = tiles.causal_blocks(last_tile) * cells;
        let rows = seen.next_multiple_of(ROW_TILE);
        let mut logits = Aligned::<f32>::zeroed(panels * rows * LANES);
        multiply(simd, Rows::row_major(&keys, rows, cell_len, cell_len), &q, panels, &mut logits, rows * LANES, false);
        for tile in first_tile..=last_tile {
            let mut scores = vec![0f32; tiles.causal_blocks(tile)];
            let long_rows = tiles.positions(tile).len().div_ceil(stride);
            for row in 0..long_rows {
                let n = (tile - first_tile) * rows_of_tile + row;
                let logits = &logits[n / LANES * rows * LANES..][..rows * LANES];
                // The last position of the long row decides which cells it sees some of.
                let position =
                    (tiles.positions(tile).start + row * stride + stride - 1).min(tiles.range().kv_len() - 1);
                let of_row = || logits.iter().skip(n % LANES).step_by(LANES).take(position / stride + 1);
                let top = of_row().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |logit: &f32| ((logit - top) / stride as f32).exp2();
                let sum: f32 = of_row().map(weight).sum();
                for (cell, logit) in of_row().enumerate() {
                    scores[cell / cells] += weight(logit) / sum / long_rows as f32;
                }
            }
            use_tile(&scores);
        }
    }
    Ok(())
}

/// All keys one after another, `[num_blocks, padded to 16][64][padded_dim]`; zeros past the last.
fn long_keys(kv: &KvView, kv_head: usize) -> Aligned<bf16> {
    let page = BLOCK_N * kv.heads().padded_dim();
    let mut keys = Aligned::<bf16>::zeroed(kv.num_blocks().next_multiple_of(ROW_TILE) * page);
    for (block, out) in keys.chunks_exact_mut(page).enumerate().take(kv.num_blocks()) {
        // Slots past the end may hold anything.
        let filled = (kv.kv_len() - block * BLOCK_N).min(BLOCK_N) * kv.heads().padded_dim();
        out[..filled].copy_from_slice(&kv.keys(block, kv_head)[..filled]);
    }
    keys
}
