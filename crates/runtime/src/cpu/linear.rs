//! Linear layers: tiles of weights times packed panels.

mod few_rows;
mod slab_product;

use super::products::Arithmetic;
use super::{Operand, Tokens, elementwise};
use crate::config::Activation;
use crate::formats::{Tensor, TensorInfo};
use crate::ops::{OpsError, Stacking};
use attention::Aligned;
use attention::simd::blocks::{BlockFormat, Blocks};
use attention::simd::{K_STEP, LANES, ROW_TILE, Rows, Simd};
pub(super) use few_rows::WideRows;
use half::bf16;
use rayon::prelude::*;
use slab_product::SlabProduct;
pub(super) use slab_product::room_bytes;
use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};

/// A weight matrix in tiles of 16 rows, rows padded to 16 and columns to 32 with zeros. Weights that a file has in quantised blocks
/// stay in blocks, others are bf16.
pub struct Matrix {
    rows: usize,
    cols: usize,
    runs: Vec<Run>,
}

/// Neighbouring tiles that are stored alike.
struct Run {
    tiles: Range<usize>,
    weights: Weights,
}

enum Weights {
    /// `[rows / 16][cols / 32][16][32]`.
    Bf16(Aligned<bf16>),
    Blocks(Blocks),
}

/// Weight rows that stay in the first-level cache while panels pass.
const SLAB_ROWS: usize = 2 * ROW_TILE;
/// Bytes of operand panels that stay in the second-level cache while weights pass.
const GROUP_BYTES: usize = 768 << 10;
/// Bytes of decoded weights that all panels pass before the next are decoded: more than a cache that threads share has room for
/// would go to memory and back, fewer would make threads wait for each other more often.
const DECODED_BYTES: usize = 2 << 20;

/// Which row of which part stands in a row of a matrix.
type Source = Option<(usize, usize)>;

/// The sources of all rows; rows past the end of a part have none.
fn sources(parts: &[TensorInfo], stacking: Stacking) -> Vec<Source> {
    match stacking {
        Stacking::Rows => {
            (parts.iter().enumerate()).flat_map(|(p, part)| (0..part.rows).map(move |r| Some((p, r)))).collect()
        }
        Stacking::GateUp => {
            let rows = parts[0].rows;
            assert!(parts.len() == 2 && parts[1].rows == rows, "a gate and an up projection of one height");
            (0..rows.div_ceil(ROW_TILE))
                .flat_map(|tile| [(0, tile), (1, tile)])
                .flat_map(|(p, tile)| {
                    (tile * ROW_TILE..(tile + 1) * ROW_TILE).map(move |r| (r < rows).then_some((p, r)))
                })
                .collect()
        }
    }
}

/// Runs of tiles and their format: that of all their rows, or none, which is bf16.
fn formats(parts: &[TensorInfo], sources: &[Source]) -> Vec<(Range<usize>, Option<BlockFormat>)> {
    let tiles: Vec<Option<BlockFormat>> = (sources.chunks(ROW_TILE))
        .map(|tile| {
            let mut formats = tile.iter().flatten().map(|(part, _)| parts[*part].encoding.block_format());
            let first = formats.next().flatten();
            if formats.all(|format| format == first) { first } else { None }
        })
        .collect();
    let ends = tiles.chunk_by(|a, b| a == b).scan(0, |end, run| {
        *end += run.len();
        Some((*end - run.len()..*end, run[0]))
    });
    ends.collect()
}

thread_local! {
    /// Decoded weights. Kept, since the system gives new memory page by page, which takes as long as decoding.
    static DECODED: Cell<Aligned<bf16>> = Cell::default();
    /// Products of a slab of gates and up projections, likewise.
    static STACKED: Cell<Aligned<f32>> = Cell::default();
}

impl Matrix {
    pub(super) fn pack(parts: &[Tensor], stacking: Stacking) -> Result<Self, OpsError> {
        let cols = parts[0].cols();
        assert!(parts.iter().all(|part| part.cols() == cols), "parts of one matrix have one width");
        let infos: Vec<TensorInfo> = parts.iter().map(Tensor::info).collect();
        let sources = sources(&infos, stacking);
        let runs = formats(&infos, &sources).into_iter().map(|(tiles, format)| {
            let sources = &sources[tiles.start * ROW_TILE..sources.len().min(tiles.end * ROW_TILE)];
            let weights = match format {
                None => Weights::Bf16(bf16_tiles(parts, sources, cols)?),
                Some(format) => Weights::Blocks(Blocks::fill(format, sources.len(), cols, |row, out| {
                    sources[row].is_some_and(|(part, from)| {
                        parts[part].encoding().unpack(parts[part].row_bytes(from), out);
                        true
                    })
                })?),
            };
            Ok(Run { tiles, weights })
        });
        Ok(Self { rows: sources.len(), cols, runs: runs.collect::<Result<_, OpsError>>()? })
    }

    /// Bytes of a matrix of these parts.
    pub(super) fn bytes(parts: &[TensorInfo]) -> u64 {
        let cols = parts[0].cols;
        let bytes_of = |(tiles, format): (Range<usize>, Option<BlockFormat>)| match format {
            None => tiles.len() * ROW_TILE * cols.next_multiple_of(K_STEP) * size_of::<bf16>(),
            Some(format) => format.bytes(tiles.len() * ROW_TILE, cols),
        };
        formats(parts, &sources(parts, Stacking::Rows)).into_iter().map(bytes_of).sum::<usize>() as u64
    }

    fn padded_cols(&self) -> usize {
        self.cols.next_multiple_of(K_STEP)
    }

    /// The run that has a tile.
    fn run(&self, tile: usize) -> &Run {
        &self.runs[self.runs.partition_point(|run| run.tiles.end <= tile)]
    }

    /// One row of [`cols`](Self::cols) numbers.
    pub(super) fn read_row(&self, row: usize, out: &mut [f32]) {
        let run = self.run(row / ROW_TILE);
        let row = row - run.tiles.start * ROW_TILE;
        match &run.weights {
            Weights::Blocks(blocks) => blocks.read_row(row, out),
            Weights::Bf16(tiles) => {
                let k = self.padded_cols();
                let tile = &tiles[row / ROW_TILE * ROW_TILE * k..][..ROW_TILE * k];
                for (step, out) in out.chunks_mut(K_STEP).enumerate() {
                    let weights = &tile[(step * ROW_TILE + row % ROW_TILE) * K_STEP..];
                    out.iter_mut().zip(weights).for_each(|(out, w)| *out = w.to_f32());
                }
            }
        }
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Calls `work` with the first row and bf16 weights of each part of the matrix, an even number of tiles but at the end. All
    /// threads decode a part, then `work` may take as many panels through it as there are: each weight is decoded once.
    fn each_part(&self, simd: Simd, mut work: impl FnMut(usize, Rows)) {
        let (k, tiles) = (self.padded_cols(), self.rows.div_ceil(ROW_TILE));
        if let [Run { weights: Weights::Bf16(weights), .. }] = &self.runs[..] {
            return work(0, Rows::packed(weights, tiles * ROW_TILE, k));
        }
        let at_once = (DECODED_BYTES / (k * ROW_TILE * size_of::<bf16>())).next_multiple_of(2).max(2).min(tiles);
        let mut room = DECODED.take();
        if room.len() < at_once * ROW_TILE * k {
            room = Aligned::zeroed(at_once * ROW_TILE * k);
        }
        for first in (0..tiles).step_by(at_once) {
            let count = at_once.min(tiles - first);
            let part = &mut room[..count * ROW_TILE * k];
            part.par_chunks_mut(ROW_TILE * k).enumerate().for_each(|(n, out)| {
                let run = self.run(first + n);
                let tile = first + n - run.tiles.start;
                match &run.weights {
                    Weights::Blocks(blocks) => blocks.decode_tile(simd, tile, out),
                    Weights::Bf16(tiles) => out.copy_from_slice(&tiles[tile * ROW_TILE * k..][..ROW_TILE * k]),
                }
            });
            work(first * ROW_TILE, Rows::packed(part, count * ROW_TILE, k));
        }
        DECODED.set(room);
    }

    /// Panels that one thread takes through all slabs: as many as fit the cache, but enough groups for every thread.
    fn group_panels(&self, panels: usize) -> usize {
        let fit = GROUP_BYTES / (self.padded_cols() * LANES * size_of::<bf16>());
        let share = panels.div_ceil(rayon::current_num_threads());
        share.min(fit.max(2)).next_multiple_of(2)
    }

    pub(super) fn multiply(
        &self,
        how: Arithmetic,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Tokens<impl DerefMut<Target = [f32]>>,
        accumulate: bool,
    ) {
        assert!(x.features == self.cols && x.len == out.len && out.features == self.rows);
        if x.by_row {
            return self.multiply_rows(how.simd, x, out, accumulate);
        }
        let stride = out.stride();
        self.each_slab(how, x, &mut out.panels, stride, SLAB_ROWS * LANES, |slab, out| {
            slab.run(out, stride, accumulate);
        });
    }

    /// Takes every group of panels, those of `out` being `stride` long and having `slab_len` elements for a slab, through every slab of
    /// weights: `work` gets the slab and the panels of `out` from its elements on.
    fn each_slab<T: Send>(
        &self,
        how: Arithmetic,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut [T],
        stride: usize,
        slab_len: usize,
        work: impl Fn(&mut SlabProduct, &mut [T]) + Sync,
    ) {
        if let Some(width) = how.integers
            && self.has_blocks()
        {
            return self.each_slab_in_integers(how.simd, width, x, out, (stride, slab_len), work);
        }
        let group = self.group_panels(x.len.div_ceil(LANES));
        self.each_part(how.simd, |first_row, part| {
            let groups = x.panels.par_chunks(group * x.stride()).zip(out.par_chunks_mut(group * stride));
            groups.for_each(|(x, out)| {
                for (row, rows) in slabs(part) {
                    let mut slab = SlabProduct::Bf16 { simd: how.simd, rows, x };
                    work(&mut slab, &mut out[(first_row + row) / SLAB_ROWS * slab_len..]);
                }
            });
        });
    }

    /// Whether weights are quantised, all or some.
    fn has_blocks(&self) -> bool {
        self.runs.iter().any(|run| matches!(run.weights, Weights::Blocks(_)))
    }

    pub(super) fn multiply_gated(
        &self,
        how: Arithmetic,
        activation: Activation,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Operand<impl DerefMut<Target = [bf16]>>,
    ) -> Result<(), OpsError> {
        assert!(x.features == self.cols && x.len == out.len);
        assert!(self.rows == 2 * out.features.next_multiple_of(ROW_TILE), "not a gate and an up projection");
        if x.by_row {
            return self.multiply_gated_rows(how.simd, activation, x, out);
        }
        // 32 stacked rows are 16 features: packed, 16 x 16 elements.
        let (stride, slab_len) = (out.stride(), ROW_TILE * LANES);
        self.each_slab(how, x, &mut out.panels, stride, slab_len, |slab, out| {
            let mut room = STACKED.take();
            let len = slab.panels() * SLAB_ROWS * LANES;
            if room.len() < len {
                room = Aligned::zeroed(len);
            }
            slab.run(&mut room[..len], SLAB_ROWS * LANES, false);
            for (product, out) in room[..len].chunks_exact(SLAB_ROWS * LANES).zip(out.chunks_mut(stride)) {
                let (gate, up) = product.split_at(ROW_TILE * LANES);
                elementwise::gate(how.simd, activation, gate, up, bytemuck::cast_slice_mut(&mut out[..slab_len]));
            }
            STACKED.set(room);
        });
        Ok(())
    }
}

/// Rows of stored tensors as packed tiles of bf16.
fn bf16_tiles(parts: &[Tensor], sources: &[Source], cols: usize) -> Result<Aligned<bf16>, OpsError> {
    let padded = cols.next_multiple_of(K_STEP);
    let mut tiles = Aligned::<bf16>::try_zeroed("a weight matrix", sources.len().next_multiple_of(ROW_TILE) * padded)?;
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
    Ok(tiles)
}

/// Rows in slabs of two tiles, each with its first row.
fn slabs(part: Rows) -> impl Iterator<Item = (usize, Rows)> {
    (0..part.rows()).step_by(SLAB_ROWS).map(move |row| (row, part.slice(row, SLAB_ROWS.min(part.rows() - row))))
}

#[cfg(test)]
mod tests;
