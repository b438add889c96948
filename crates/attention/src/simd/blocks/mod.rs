//! Weights that stay quantised: sixteen rows side by side, so that a register of codes has one row a lane.
//!
//! A matrix is stored in tiles of 16 rows, in two streams. *Codes*, for each 32 columns of a tile: four vectors of 64 bytes, byte
//! `4 * row + i` of vector `v` holding the codes of columns `8 * v + i` (low nibble) and `8 * v + 4 + i` (high nibble); behind them,
//! for each bit above the fourth, one vector whose bit `step` of byte `4 * row + i` belongs to column `4 * step + i`. 8-bit codes are
//! eight vectors of bytes. *Scales*, for each 32 or 256 columns: sixteen f16 scales, sixteen f16 minima, then the bytes of nested
//! scales and minima, sixteen a group. Nothing is rounded, and the bytes are those of GGML's blocks (Q4_K and Q5_K: 3% more, since
//! six-bit scales take bytes).
//!
//! Products of a row, or of a few rows each as alone, multiply codes by an input of 15-bit integers in two bytes ([`QuantisedVector`]): `vpdpbusd` takes four columns of
//! sixteen rows at once, and what is around them is exact up to f32. Products of many rows either decode tiles to bf16 ([`Blocks::decode_tile`])
//! and are those of [`multiply`](super::multiply), or put the codes of a few tiles into bytes ([`Slab`]) and multiply them by inputs in integers
//! ([`QuantisedPanels`], [`multiply_integers`]).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod decode;
mod format;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
mod portable;
mod product;
mod slab;
mod vector;

use super::{K_STEP, ROW_TILE, Simd};
use crate::{Aligned, Error};
use format::{Format, with_format};
use half::{bf16, f16};
use rayon::prelude::*;
use std::ops::Range;

pub use format::BlockFormat;
pub use panels::{InputWidth, QuantisedPanels};
pub use product::multiply_integers;
pub use slab::Slab;
pub use vector::QuantisedVector;

/// A matrix of quantised weights; see the [module](self).
pub struct Blocks {
    format: BlockFormat,
    rows: usize,
    cols: usize,
    scales: Aligned<u8>,
    codes: Aligned<u8>,
}

/// One row as [`Blocks::fill`] takes it.
pub struct BlockRow {
    /// A code for each column.
    pub codes: Vec<u8>,
    /// Scale and minimum of each 32 or, where they are factors of nested ones, 256 columns.
    pub factors: Vec<[f16; 2]>,
    /// Nested scale and minimum of each group of columns; unused where there are none.
    pub nested: Vec<[i8; 2]>,
}

impl BlockFormat {
    /// Columns that a row must have a multiple of.
    pub fn columns(self) -> usize {
        with_format!(self, F => F::SUPER)
    }

    /// Bytes that a matrix takes; rows are padded to 16.
    pub fn bytes(self, rows: usize, cols: usize) -> usize {
        let (scales, codes) = self.tile_bytes(cols);
        rows.div_ceil(ROW_TILE) * (scales + codes)
    }

    /// Bytes of the scales and of the codes of a tile.
    fn tile_bytes(self, cols: usize) -> (usize, usize) {
        with_format!(self, F => (cols / F::SUPER * F::SCALE_BYTES, cols / K_STEP * F::CODE_BYTES))
    }
}

impl Blocks {
    /// A matrix of `rows x cols`. `read` puts a row into the buffer it gets, or says `false`: such rows, and those that pad the
    /// matrix to 16, are zero.
    ///
    /// # Errors
    /// [`Error::Allocation`] when there is no room.
    ///
    /// # Panics
    /// When `cols` is not a multiple of [`BlockFormat::columns`].
    pub fn fill(
        format: BlockFormat,
        rows: usize,
        cols: usize,
        read: impl Fn(usize, &mut BlockRow) -> bool + Sync,
    ) -> Result<Self, Error> {
        assert!(cols.is_multiple_of(format.columns()), "rows of {cols} columns, not whole blocks of {format:?}");
        let padded = rows.next_multiple_of(ROW_TILE);
        let (scale_bytes, code_bytes) = format.tile_bytes(cols);
        let mut scales = Aligned::try_zeroed("scales of quantised weights", padded / ROW_TILE * scale_bytes)?;
        let mut codes = Aligned::try_zeroed("quantised weights", padded / ROW_TILE * code_bytes)?;
        if cols > 0 {
            let tiles = scales.par_chunks_mut(scale_bytes).zip(codes.par_chunks_mut(code_bytes)).enumerate();
            tiles.for_each(|(tile, (scales, codes))| {
                let (factors, nested) = with_format!(format, F => (cols / F::SUPER, cols / F::GROUP));
                let mut row = BlockRow {
                    codes: vec![0; cols],
                    factors: vec![[f16::ZERO; 2]; factors],
                    nested: vec![[0; 2]; nested],
                };
                for r in 0..ROW_TILE.min(rows - tile * ROW_TILE) {
                    if read(tile * ROW_TILE + r, &mut row) {
                        with_format!(format, F => store_row::<F>(r, &row, scales, codes));
                    }
                }
            });
        }
        Ok(Self { format, rows: padded, cols, scales, codes })
    }

    /// Number of rows, a multiple of 16.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Scales and codes of some tiles.
    fn tiles(&self, tiles: Range<usize>) -> (&[u8], &[u8]) {
        let (scales, codes) = self.format.tile_bytes(self.cols);
        (&self.scales[tiles.start * scales..tiles.end * scales], &self.codes[tiles.start * codes..tiles.end * codes])
    }

    /// `out[r] = sum over k of w[r][k] * x[k]` for the 16-row tiles `tiles`.
    ///
    /// # Panics
    /// As [`multiply_vectors`](Self::multiply_vectors).
    pub fn multiply_vector(&self, simd: Simd, tiles: Range<usize>, x: &QuantisedVector, out: &mut [f32]) {
        self.multiply_vectors(simd, tiles, std::slice::from_ref(x), out);
    }

    /// The same for each of a few vectors, bit for bit, the products of one behind those of the other; weights are read from memory
    /// once.
    ///
    /// # Panics
    /// When there are no such tiles, a vector is not of [`cols`](Self::cols) numbers, `out` not of 16 a tile and vector, or the processor
    /// does not have `simd`.
    pub fn multiply_vectors(&self, simd: Simd, tiles: Range<usize>, x: &[QuantisedVector], out: &mut [f32]) {
        let wrong = x.iter().map(QuantisedVector::len).find(|len| *len != self.cols);
        assert!(wrong.is_none(), "{} columns on a vector of {}", self.cols, wrong.unwrap_or_default());
        let height = tiles.len() * ROW_TILE;
        assert!(out.len() == x.len() * height, "{} tiles of {} vectors into {}", tiles.len(), x.len(), out.len());
        simd.assert_available();
        if self.cols == 0 {
            return out.fill(0.0);
        }
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx => with_format!(self.format, F => {
                // SAFETY: `assert_available` found the set on this machine, and the lengths are those.
                unsafe { self.multiply_avx512::<F>(tiles, x, out) }
            }),
            _ => {
                // A tile stays in the cache from vector to vector.
                for (n, tile) in tiles.enumerate() {
                    for (x, out) in x.iter().zip(out.chunks_exact_mut(height)) {
                        self.multiply_tile(simd, tile, x, &mut out[n * ROW_TILE..][..ROW_TILE]);
                    }
                }
            }
        }
    }

    fn multiply_tile(&self, simd: Simd, tile: usize, x: &QuantisedVector, out: &mut [f32]) {
        let (scales, codes) = self.tiles(tile..tile + 1);
        with_format!(self.format, F => match simd {
            // SAFETY: `multiply_vectors` found the set on this machine.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { avx2::multiply::<F>(scales, codes, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => unsafe { neon::multiply::<F, false>(scales, codes, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Simd::NeonDotprod => unsafe { neon::multiply::<F, true>(scales, codes, x, out) },
            _ => portable::multiply::<F>(scales, codes, x, out),
        })
    }

    /// # Safety
    /// AVX-512 F, BW and VNNI must be present, the inputs of [`cols`](Self::cols) numbers.
    #[cfg(target_arch = "x86_64")]
    unsafe fn multiply_avx512<F: Format>(&self, tiles: Range<usize>, mut x: &[QuantisedVector], mut out: &mut [f32]) {
        let height = tiles.len() * ROW_TILE;
        let (scales, codes) = self.tiles(tiles);
        while let [first, ..] = x {
            // SAFETY: as above.
            let done = unsafe {
                if let Some(x) = x.first_chunk::<4>() {
                    avx512::multiply::<F, 4>(scales, codes, x.each_ref(), out, height);
                    4
                } else if let Some(x) = x.first_chunk::<2>() {
                    avx512::multiply::<F, 2>(scales, codes, x.each_ref(), out, height);
                    2
                } else {
                    avx512::multiply::<F, 1>(scales, codes, [first], out, height);
                    1
                }
            };
            (x, out) = (&x[done..], &mut out[done * height..]);
        }
    }

    /// Decodes a 16-row tile to bf16, nearest, as [`Rows::packed`](super::Rows::packed) wants it: `[cols / 32][16][32]`.
    ///
    /// # Panics
    /// When there is no such tile, `out` is not of its size, or the processor does not have `simd`.
    pub fn decode_tile(&self, simd: Simd, tile: usize, out: &mut [bf16]) {
        assert!(out.len() == ROW_TILE * self.cols, "a tile of {} columns into {} numbers", self.cols, out.len());
        let (scales, codes) = self.tiles(tile..tile + 1);
        let out = bytemuck::cast_slice_mut(out);
        simd.assert_available();
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx => with_format!(self.format, F => {
                // SAFETY: `assert_available` found the set on this machine; AMX is taken only where AVX-512 BF16 is, too.
                unsafe { avx512::decode_tile::<F>(scales, codes, out) }
            }),
            _ => decode::tile(simd, self.format, scales, codes, out),
        }
    }

    /// Decodes one row.
    ///
    /// # Panics
    /// When there is no such row or `out` is not of [`cols`](Self::cols) numbers.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} x {}", self.rows, self.cols);
        let tile = row / ROW_TILE;
        let (scales, codes) = self.tiles(tile..tile + 1);
        with_format!(self.format, F => decode::row::<F>(scales, codes, row % ROW_TILE, out));
    }
}

/// Puts a row in its place in a tile of zeros.
fn store_row<F: Format>(r: usize, row: &BlockRow, scales: &mut [u8], codes: &mut [u8]) {
    let kinds = if F::MINIMA { 2 } else { 1 };
    for (n, scales) in scales.chunks_exact_mut(F::SCALE_BYTES).enumerate() {
        let (factors, nested) = scales.split_at_mut(F::FACTORS_BYTES);
        for kind in 0..kinds {
            factors[kind * F::FACTOR_BYTES + 2 * r..][..2].copy_from_slice(&row.factors[n][kind].to_le_bytes());
        }
        if F::NESTED {
            for (group, nested) in nested.chunks_exact_mut(F::GROUP_BYTES).enumerate() {
                for kind in 0..kinds {
                    nested[kind * ROW_TILE + r] = row.nested[n * (F::SUPER / F::GROUP) + group][kind] as u8;
                }
            }
        }
    }
    for (block, row) in codes.chunks_exact_mut(F::CODE_BYTES).zip(row.codes.chunks_exact(K_STEP)) {
        for (column, &code) in row.iter().enumerate() {
            let (step, byte) = (column / 4, 4 * r + column % 4);
            if F::BITS == 8 {
                block[64 * step + byte] = code;
                continue;
            }
            block[step / 2 * 64 + byte] |= (code & 15) << (step % 2 * 4);
            for plane in 0..F::BITS - 4 {
                block[256 + 64 * plane + byte] |= (code >> (4 + plane) & 1) << step;
            }
        }
    }
}

#[cfg(test)]
mod tests;
