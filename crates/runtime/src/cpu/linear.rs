//! Linear layers: tiles of bf16 weights times packed panels.

use super::{Operand, Tokens, elementwise};
use crate::config::Activation;
use crate::ops::{OpsError, Stacking};
use crate::weights::Tensor;
use attention::Aligned;
use attention::simd::{K_STEP, LANES, ROW_TILE, Rows, Simd, multiply, multiply_vector};
use half::bf16;
use rayon::prelude::*;

/// A weight matrix in packed tiles `[rows / 16][cols / 32][16][32]`, rows padded to 16 and columns to 32 with zeros.
pub struct Matrix {
    rows: usize,
    cols: usize,
    tiles: Aligned<bf16>,
}

/// Weight rows that stay in the first-level cache while panels pass.
const SLAB_ROWS: usize = 2 * ROW_TILE;
/// Bytes of operand panels that stay in the second-level cache while weights pass.
const GROUP_BYTES: usize = 768 << 10;

impl Matrix {
    pub(super) fn pack(parts: &[Tensor], stacking: Stacking) -> Result<Self, OpsError> {
        let cols = parts[0].cols();
        assert!(parts.iter().all(|part| part.cols() == cols), "parts of one matrix have one width");
        // Which row of which part stands in each row of the matrix; rows past the end of a part stay zero.
        let sources: Vec<Option<(usize, usize)>> = match stacking {
            Stacking::Rows => {
                (parts.iter().enumerate()).flat_map(|(p, part)| (0..part.rows()).map(move |r| Some((p, r)))).collect()
            }
            Stacking::GateUp => {
                let rows = parts[0].rows();
                assert!(parts.len() == 2 && parts[1].rows() == rows, "a gate and an up projection of one height");
                (0..rows.div_ceil(ROW_TILE))
                    .flat_map(|tile| [(0, tile), (1, tile)])
                    .flat_map(|(p, tile)| {
                        (tile * ROW_TILE..(tile + 1) * ROW_TILE).map(move |r| (r < rows).then_some((p, r)))
                    })
                    .collect()
            }
        };
        let padded = cols.next_multiple_of(K_STEP);
        let mut tiles =
            Aligned::<bf16>::try_zeroed("a weight matrix", sources.len().next_multiple_of(ROW_TILE) * padded)?;
        tiles.par_chunks_mut(ROW_TILE * padded).zip(sources.par_chunks(ROW_TILE)).for_each(|(tile, sources)| {
            let mut row = vec![0.0; cols];
            for (r, source) in sources.iter().enumerate() {
                let Some((part, from)) = *source else { continue };
                parts[part].read_row(from, &mut row);
                for (step, xs) in row.chunks(K_STEP).enumerate() {
                    for (out, x) in tile[step * ROW_TILE * K_STEP + r * K_STEP..].iter_mut().zip(xs) {
                        *out = bf16::from_f32(*x);
                    }
                }
            }
        });
        Ok(Self { rows: sources.len(), cols, tiles })
    }

    pub(super) fn bytes(rows: usize, cols: usize) -> u64 {
        (rows.next_multiple_of(ROW_TILE) * cols.next_multiple_of(K_STEP) * size_of::<bf16>()) as u64
    }

    fn padded_cols(&self) -> usize {
        self.cols.next_multiple_of(K_STEP)
    }

    /// `count` rows from `row` on, both multiples of 16.
    fn slab(&self, row: usize, count: usize) -> Rows<'_> {
        let k = self.padded_cols();
        Rows::packed(&self.tiles[row * k..(row + count) * k], count, k)
    }

    fn slabs(&self) -> impl Iterator<Item = (usize, Rows<'_>)> {
        let rows = self.rows.next_multiple_of(ROW_TILE);
        (0..rows).step_by(SLAB_ROWS).map(move |row| (row, self.slab(row, SLAB_ROWS.min(rows - row))))
    }

    /// Panels that one thread takes through all slabs: as many as fit the cache, but enough groups for every thread.
    fn group_panels(&self, panels: usize) -> usize {
        let fit = GROUP_BYTES / (self.padded_cols() * LANES * size_of::<bf16>());
        let share = panels.div_ceil(rayon::current_num_threads());
        share.min(fit.max(2)).next_multiple_of(2)
    }

    pub(super) fn multiply(&self, simd: Simd, x: &Operand, out: &mut Tokens, accumulate: bool) {
        assert!(x.features == self.cols && x.len == out.len && out.features == self.rows);
        if x.len == 1 {
            return self.multiply_one(simd, x, out, accumulate);
        }
        let group = self.group_panels(x.len.div_ceil(LANES));
        let stride = out.stride();
        let groups = x.panels.par_chunks(group * x.stride()).zip(out.panels.par_chunks_mut(group * stride));
        groups.for_each(|(x_group, out)| {
            let panels = out.len() / stride;
            for (row, slab) in self.slabs() {
                multiply(simd, slab, x_group, panels, &mut out[row * LANES..], stride, accumulate);
            }
        });
    }

    /// One token: every weight is read once, threads share the rows.
    fn multiply_one(&self, simd: Simd, x: &Operand, out: &mut Tokens, accumulate: bool) {
        const ROWS: usize = 4 * ROW_TILE;
        let vector: Vec<bf16> = x.panels.chunks_exact(2 * LANES).flat_map(|p| [p[0], p[1]]).collect();
        out.panels.par_chunks_mut(ROWS * LANES).enumerate().for_each(|(chunk, out)| {
            let rows = out.len() / LANES;
            let mut product = [0f32; ROWS];
            multiply_vector(simd, self.slab(chunk * ROWS, rows), &vector, &mut product[..rows]);
            for (lanes, x) in out.chunks_exact_mut(LANES).zip(product) {
                lanes[0] = if accumulate { lanes[0] + x } else { x };
            }
        });
    }

    pub(super) fn multiply_gated(
        &self,
        simd: Simd,
        activation: Activation,
        x: &Operand,
        out: &mut Operand,
    ) -> Result<(), OpsError> {
        assert!(x.features == self.cols && x.len == out.len);
        assert!(self.rows == 2 * out.features.next_multiple_of(ROW_TILE), "not a gate and an up projection");
        if x.len == 1 {
            return self.multiply_gated_one(simd, activation, x, out);
        }
        let group = self.group_panels(x.len.div_ceil(LANES));
        let stride = out.stride();
        let groups = x.panels.par_chunks(group * x.stride()).zip(out.panels.par_chunks_mut(group * stride));
        groups.for_each(|(x_group, out)| {
            let panels = out.len() / stride;
            let mut product = Aligned::<f32>::zeroed(panels * SLAB_ROWS * LANES);
            for (row, slab) in self.slabs() {
                multiply(simd, slab, x_group, panels, &mut product, SLAB_ROWS * LANES, false);
                for (product, out) in product.chunks_exact(SLAB_ROWS * LANES).zip(out.chunks_exact_mut(stride)) {
                    let (gate, up) = product.split_at(ROW_TILE * LANES);
                    // 32 stacked rows are 16 features: packed, 16 x 16 elements.
                    let out = &mut out[row / 2 * LANES..][..ROW_TILE * LANES];
                    elementwise::gate(simd, activation, gate, up, bytemuck::cast_slice_mut(out));
                }
            }
        });
        Ok(())
    }

    fn multiply_gated_one(
        &self,
        simd: Simd,
        activation: Activation,
        x: &Operand,
        out: &mut Operand,
    ) -> Result<(), OpsError> {
        let mut product = Tokens::new(self.rows, 1)?;
        self.multiply_one(simd, x, &mut product, false);
        let tiles = product.panels.chunks_exact(SLAB_ROWS * LANES).zip(out.panels.chunks_exact_mut(ROW_TILE * LANES));
        for (product, out) in tiles {
            let (gate, up) = product.split_at(ROW_TILE * LANES);
            elementwise::gate(simd, activation, gate, up, bytemuck::cast_slice_mut(out));
        }
        Ok(())
    }
}
