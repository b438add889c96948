//! Writing to one page.

use crate::BLOCK_N;
use crate::shape::HeadShape;
use crate::simd::LANES;
use half::bf16;
use std::ops::Range;

/// What a page has of each kv head, one after the other.
pub(super) struct Page<'a> {
    /// `[64][padded_dim]`
    pub(super) keys: &'a mut [bf16],
    /// `[padded_dim][64]`
    pub(super) values: &'a mut [bf16],
    pub(super) key_means: &'a mut [f32],
    pub(super) value_means: &'a mut [f32],
    pub(super) key_radii: &'a mut [f32],
}

/// Keys and values of some positions of a sequence, in panels that begin `stride` apart.
pub(super) struct NewRows<'a> {
    pub(super) heads: HeadShape,
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) positions: Range<usize>,
}

impl NewRows<'_> {
    /// Writes those of a block to its page.
    pub(super) fn write(&self, block: usize, page: Page) {
        let (d, dp) = (self.heads.head_dim(), self.heads.padded_dim());
        let from = self.positions.start.max(block * BLOCK_N);
        let to = self.positions.end.min((block + 1) * BLOCK_N);
        for head in 0..self.heads.num_kv_heads() {
            let keys = &mut page.keys[head * dp * BLOCK_N..][..dp * BLOCK_N];
            let values = &mut page.values[head * dp * BLOCK_N..][..dp * BLOCK_N];
            for position in from..to {
                let (token, slot) = (position - self.positions.start, position % BLOCK_N);
                let at = token / LANES * self.stride + head * d * LANES + token % LANES;
                for i in 0..d {
                    keys[slot * dp + i] = bf16::from_f32(self.keys[at + i * LANES]);
                }
                for i in 0..d {
                    values[i * BLOCK_N + slot] = bf16::from_f32(self.values[at + i * LANES]);
                }
            }
            let filled = to - block * BLOCK_N;
            let key_mean = &mut page.key_means[head * dp..][..dp];
            mean_of_rows(keys, filled, key_mean);
            page.key_radii[head] = radius_of_rows(keys, filled, key_mean);
            mean_of_columns(values, filled, &mut page.value_means[head * dp..][..dp]);
        }
    }
}

/// As `to_f32`, which looks for NaN and so takes one number at a time.
#[inline(always)]
fn wide(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}

fn mean_of_rows(rows: &[bf16], filled: usize, mean: &mut [f32]) {
    mean.fill(0.0);
    for row in rows.chunks_exact(mean.len()).take(filled) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += wide(*x);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= filled as f32);
}

/// Largest distance of a row from `mean`.
fn radius_of_rows(rows: &[bf16], filled: usize, mean: &[f32]) -> f32 {
    let squared_distance = |row: &[bf16]| {
        let mut sums = [0f32; LANES];
        for (row, mean) in row.as_chunks::<LANES>().0.iter().zip(mean.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let off = wide(row[lane]) - mean[lane];
                sums[lane] += off * off;
            }
        }
        sums.iter().sum::<f32>()
    };
    rows.chunks_exact(mean.len()).take(filled).map(squared_distance).fold(0.0, f32::max).sqrt()
}

fn mean_of_columns(columns: &[bf16], filled: usize, mean: &mut [f32]) {
    for (mean, column) in mean.iter_mut().zip(columns.chunks_exact(BLOCK_N)) {
        let (whole, rest) = column[..filled].as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for column in whole {
            for lane in 0..LANES {
                sums[lane] += wide(column[lane]);
            }
        }
        *mean = (sums.iter().sum::<f32>() + rest.iter().map(|x| wide(*x)).sum::<f32>()) / filled as f32;
    }
}
