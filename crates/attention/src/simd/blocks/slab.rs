//! Some tiles of a matrix, ready for a product of many rows in integers.

use super::Blocks;
use super::decode::steps;
use super::format::{BlockFormat, Format, with_format};
use super::portable::group_scales;
use crate::Aligned;
use crate::simd::{K_STEP, ROW_TILE, Simd};
use std::ops::Range;

/// Codes in a byte each, scales and minima in f32, of a few 16-row tiles that stay in the cache while panels pass.
///
/// The room is kept from one use to the next.
#[derive(Default)]
pub struct Slab {
    pub(super) tiles: usize,
    /// Runs of 32 columns.
    pub(super) steps: usize,
    /// Bits of a code.
    pub(super) bits: usize,
    /// Columns that share a scale.
    pub(super) group: usize,
    /// `[tile][columns / 32][8][16][4]`.
    pub(super) codes: Aligned<u8>,
    /// `[tile][columns / group][2][16]`: scales, and what is taken away from a scaled code: the minimum, or the scale times the code of weight 0.
    pub(super) scales: Aligned<f32>,
}

/// Bytes of the codes of 16 rows x 32 columns.
pub(super) const STEP_CODES: usize = ROW_TILE * K_STEP;

impl Slab {
    /// Takes the tiles `tiles` of `blocks`.
    ///
    /// # Panics
    /// When there are no such tiles, or the processor does not have `simd`.
    pub fn fill(&mut self, simd: Simd, blocks: &Blocks, tiles: Range<usize>) {
        let (scales, codes) = blocks.tiles(tiles.clone());
        let (bits, group) = with_format!(blocks.format, F => (F::BITS, F::GROUP));
        (self.tiles, self.steps) = (tiles.len(), blocks.cols / K_STEP);
        (self.bits, self.group) = (bits, group);
        let (code_bytes, numbers) = (self.code_bytes(), self.tiles * self.tile_numbers());
        if self.codes.len() < code_bytes {
            self.codes = Aligned::zeroed(code_bytes);
        }
        if self.scales.len() < numbers {
            self.scales = Aligned::zeroed(numbers);
        }
        let out = (&mut self.codes[..code_bytes], &mut self.scales[..numbers]);
        spread(simd, blocks.format, blocks.cols, scales, codes, out.0, out.1);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tiles * ROW_TILE
    }

    fn code_bytes(&self) -> usize {
        self.tiles * self.steps * STEP_CODES
    }

    /// Elements of the scales of a tile.
    pub(super) fn tile_numbers(&self) -> usize {
        self.steps * self.step_numbers()
    }

    /// Elements of the scales of 32 columns of a tile.
    pub(super) fn step_numbers(&self) -> usize {
        K_STEP / self.group * 2 * ROW_TILE
    }
}

crate::multiversion! {
    fn spread(
        format: BlockFormat, cols: usize, scales: &[u8], codes: &[u8], to_codes: &mut [u8], to_scales: &mut [f32],
    ) {
        with_format!(format, F => spread_tiles::<F>(cols, scales, codes, to_codes, to_scales))
    }
}

#[inline(always)]
fn spread_tiles<F: Format>(cols: usize, scales: &[u8], codes: &[u8], to_codes: &mut [u8], to_scales: &mut [f32]) {
    for (codes, to) in codes.chunks_exact(F::CODE_BYTES).zip(to_codes.chunks_exact_mut(STEP_CODES)) {
        for (to, codes) in to.chunks_exact_mut(64).zip(steps::<F>(codes)) {
            to.copy_from_slice(&codes);
        }
    }
    let groups = K_STEP / F::GROUP;
    for (n, to) in to_scales.chunks_exact_mut(2 * ROW_TILE).enumerate() {
        let (tile, of_tile) = (n / (cols / F::GROUP), n % (cols / F::GROUP));
        let scales = &scales[tile * (cols / F::SUPER) * F::SCALE_BYTES..];
        let (scale, minimum) = group_scales::<F>(scales, of_tile / groups, of_tile % groups);
        let (to_scale, to_minimum) = to.split_at_mut(ROW_TILE);
        to_scale.copy_from_slice(&scale);
        for row in 0..ROW_TILE {
            to_minimum[row] = if F::MINIMA { minimum[row] } else { F::ZERO as f32 * scale[row] };
        }
    }
}
