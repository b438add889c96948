//! Weights times a few rows, each of which comes out as it does alone, bit for bit: with weights as their file has them, read once for
//! sixteen rows. Threads share the rows of the matrix.

use super::{Matrix, SLAB_ROWS, Weights};
use crate::config::Activation;
use crate::cpu::{Operand, Tokens, elementwise};
use crate::ops::OpsError;
use attention::Aligned;
use attention::simd::blocks::QuantisedVector;
use attention::simd::{LANES, ROW_TILE, Rows, Simd, multiply_vector};
use half::bf16;
use rayon::prelude::*;
use std::ops::{Deref, DerefMut, Range};

/// Tiles that a thread takes at a time.
const TILES_AT_ONCE: usize = 4;
/// Features of them.
const PIECE: usize = TILES_AT_ONCE * ROW_TILE;

/// f32 rows that are read whole, one after the other: `[panel][piece][row of 16 or all][64]`.
pub(in crate::cpu) struct WideRows {
    features: usize,
    len: usize,
    pieces: Aligned<f32>,
}

impl WideRows {
    pub fn new(features: usize, len: usize) -> Result<Self, OpsError> {
        let elements = len.div_ceil(LANES) * features.next_multiple_of(PIECE) * len.min(LANES);
        Ok(Self { features, len, pieces: Aligned::try_zeroed("logits", elements)? })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements for a feature of a panel.
    fn width(&self) -> usize {
        self.len.min(LANES)
    }

    /// Elements from panel to panel.
    fn stride(&self) -> usize {
        self.features.next_multiple_of(PIECE) * self.width()
    }

    /// A row, 64 features at a time.
    pub fn row(&self, row: usize) -> impl Iterator<Item = &[f32]> + Clone {
        let panel = &self.pieces[row / LANES * self.stride()..][..self.stride()];
        panel
            .chunks_exact(PIECE * self.width())
            .enumerate()
            .map(move |(n, piece)| &piece[row % LANES * PIECE..][..PIECE.min(self.features - n * PIECE)])
    }
}

impl Matrix {
    /// To rows that are read whole.
    pub(in crate::cpu) fn multiply_to_wide(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut WideRows,
    ) {
        assert!(x.features == self.cols && x.len == out.len && out.features == self.rows);
        let (stride, width) = (out.stride(), out.width());
        self.each_product(simd, x, &mut out.pieces, (stride, width), |piece, lane, at, product| {
            piece[lane * PIECE + at..][..product.len()].copy_from_slice(product);
        });
    }

    pub(super) fn multiply_rows(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Tokens<impl DerefMut<Target = [f32]>>,
        accumulate: bool,
    ) {
        let stride = out.stride();
        self.each_product(simd, x, &mut out.panels, (stride, LANES), |piece, lane, at, product| {
            for (lanes, x) in piece[at * LANES..].chunks_exact_mut(LANES).zip(product) {
                lanes[lane] = if accumulate { lanes[lane] + x } else { *x };
            }
        });
    }

    pub(super) fn multiply_gated_rows(
        &self,
        simd: Simd,
        activation: Activation,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Operand<impl DerefMut<Target = [bf16]>>,
    ) -> Result<(), OpsError> {
        let mut product = Tokens::new(self.rows, x.len)?;
        self.multiply_rows(simd, x, &mut product, false);
        let (stride, product_stride) = (out.stride(), product.stride());
        for (product, out) in product.panels.chunks_exact(product_stride).zip(out.panels.chunks_exact_mut(stride)) {
            let tiles = product.chunks_exact(SLAB_ROWS * LANES).zip(out.chunks_exact_mut(ROW_TILE * LANES));
            for (product, out) in tiles {
                let (gate, up) = product.split_at(ROW_TILE * LANES);
                elementwise::gate(simd, activation, gate, up, bytemuck::cast_slice_mut(out));
            }
        }
        Ok(())
    }

    /// Takes every row of `x` through all weights. Panels of `out` are `stride` long and have `width` elements for a feature; `write` gets
    /// the elements of 64 features of a panel, the lane of a row, the first of its features among them, and its product.
    fn each_product(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut [f32],
        (stride, width): (usize, usize),
        write: impl Fn(&mut [f32], usize, usize, &[f32]) + Sync,
    ) {
        let panels = x.panels.chunks(x.stride()).zip(out.chunks_mut(stride));
        for (first, (x_panel, out)) in (0..x.len).step_by(LANES).zip(panels) {
            let lanes = LANES.min(x.len - first);
            let vector =
                |lane| x_panel.chunks_exact(2 * LANES).flat_map(move |pairs| [pairs[2 * lane], pairs[2 * lane + 1]]);
            let vectors: Vec<Vec<bf16>> = (0..lanes).map(|lane| vector(lane).collect()).collect();
            let of_blocks = if self.has_blocks() { &vectors[..] } else { &[] };
            let quantised: Vec<_> = of_blocks.iter().map(|vector| QuantisedVector::new(simd, vector)).collect();
            let tiles = self.rows.div_ceil(ROW_TILE);
            out.par_chunks_mut(PIECE * width).take(tiles.div_ceil(TILES_AT_ONCE)).enumerate().for_each(|(n, piece)| {
                let tiles = n * TILES_AT_ONCE..tiles.min((n + 1) * TILES_AT_ONCE);
                let write = |lane, at, product: &[f32]| write(piece, lane, at, product);
                // Clearing room for sixteen rows would be felt by one.
                match lanes {
                    1 => self.multiply_tiles(simd, tiles, &vectors, &quantised, &mut [0.0; PIECE], write),
                    _ => self.multiply_tiles(simd, tiles, &vectors, &quantised, &mut [0.0; LANES * PIECE], write),
                }
            });
        }
    }

    /// The products of a few tiles with each vector, by way of `product`.
    fn multiply_tiles(
        &self,
        simd: Simd,
        tiles: Range<usize>,
        vectors: &[Vec<bf16>],
        quantised: &[QuantisedVector],
        product: &mut [f32],
        mut write: impl FnMut(usize, usize, &[f32]),
    ) {
        let k = self.padded_cols();
        let mut tile = tiles.start;
        while tile < tiles.end {
            let run = self.run(tile);
            let of_run = tile - run.tiles.start..tiles.end.min(run.tiles.end) - run.tiles.start;
            let (rows, at) = (of_run.len() * ROW_TILE, (tile - tiles.start) * ROW_TILE);
            tile += of_run.len();
            let product = &mut product[..vectors.len() * rows];
            match &run.weights {
                Weights::Blocks(blocks) => blocks.multiply_vectors(simd, of_run, quantised, product),
                Weights::Bf16(weights) => {
                    let weights = &weights[of_run.start * ROW_TILE * k..of_run.end * ROW_TILE * k];
                    for (vector, product) in vectors.iter().zip(product.chunks_exact_mut(rows)) {
                        multiply_vector(simd, Rows::packed(weights, rows, k), vector, product);
                    }
                }
            }
            for (lane, product) in product.chunks_exact(rows).enumerate() {
                write(lane, at, product);
            }
        }
    }
}
