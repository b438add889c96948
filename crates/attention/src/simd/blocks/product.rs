//! Products of many rows in integers: codes of weights times bytes of inputs, summed in 32 bits over the columns of a scale.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

use super::panels::{InputWidth, NUMBERS, PLANE, QuantisedPanels};
use super::slab::{STEP_CODES, Slab};
use crate::simd::{K_STEP, LANES, ROW_TILE, Simd};
use std::ops::Range;

/// Runs of 32 columns that pass at once: two tiles and a panel of so many stay in the first-level cache.
const STEPS_AT_ONCE: usize = 16;

/// `c[p][r][lane] (+)= sum over k of w[r][k] * x[p][k][lane]`, as [`multiply`](crate::simd::multiply) with weights that are quantised:
/// panel `p` of the result starts at `c[p * c_stride]`.
///
/// # Panics
/// When `a` and `x` are not of as many columns, `c` is too short, panels of `c` overlap, or the processor does not have `simd`.
pub fn multiply_integers(simd: Simd, a: &Slab, x: &QuantisedPanels, c: &mut [f32], c_stride: usize, accumulate: bool) {
    if x.count == 0 || a.tiles == 0 {
        return;
    }
    simd.assert_available();
    assert!(a.steps == x.steps, "{} columns on panels of {} features", a.steps * K_STEP, x.steps * K_STEP);
    let height = a.rows() * LANES;
    assert!(c_stride >= height || x.count == 1, "panels of the result overlap: {height} elements, {c_stride} apart");
    let end = c_stride.checked_mul(x.count - 1).and_then(|last| last.checked_add(height));
    assert!(end.is_some_and(|end| end <= c.len()), "{} panels, {c_stride} apart, into {}", x.count, c.len());
    for first in (0..a.steps).step_by(STEPS_AT_ONCE) {
        let steps = first..a.steps.min(first + STEPS_AT_ONCE);
        let accumulate = accumulate || first > 0;
        match simd {
            // SAFETY: `assert_available` found the set on this machine; the assertions above bound every address.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx => unsafe {
                avx512::multiply(a, x, steps, c, c_stride, accumulate)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { avx2::multiply(a, x, steps, c, c_stride, accumulate) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => unsafe { neon::multiply::<false>(a, x, steps, c, c_stride, accumulate) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Simd::NeonDotprod => unsafe { neon::multiply::<true>(a, x, steps, c, c_stride, accumulate) },
            _ => portable(a, x, steps, c, c_stride, accumulate),
        }
    }
}

fn portable(a: &Slab, x: &QuantisedPanels, steps: Range<usize>, c: &mut [f32], c_stride: usize, accumulate: bool) {
    let width = x.width().bytes();
    for panel in 0..x.count {
        for tile in 0..a.tiles {
            let mut sums = [[0f32; LANES]; ROW_TILE];
            for step in steps.clone() {
                let codes = &a.codes[(tile * a.steps + step) * STEP_CODES..][..STEP_CODES];
                let bytes = &x.bytes[(panel * x.steps + step) * width * PLANE..][..width * PLANE];
                let numbers = &x.numbers[(panel * x.steps + step) * NUMBERS..][..NUMBERS];
                let scales = &a.scales[tile * a.tile_numbers() + step * a.step_numbers()..][..a.step_numbers()];
                for (group, scales) in scales.chunks_exact(2 * ROW_TILE).enumerate() {
                    let columns = group * a.group..(group + 1) * a.group;
                    let of_group = &numbers[sums_at(a.group, group)..][..LANES];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let products = row_products(codes, bytes, x.width(), row, columns.clone());
                        for lane in 0..LANES {
                            sums[lane] += scales[row] * numbers[lane] * products[lane] as f32
                                - scales[ROW_TILE + row] * of_group[lane];
                        }
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let c = &mut c[panel * c_stride + (tile * ROW_TILE + row) * LANES..][..LANES];
                for (c, sum) in c.iter_mut().zip(sums) {
                    *c = if accumulate { *c + sum } else { *sum };
                }
            }
        }
    }
}

/// Sums of the products of some of 32 columns of a row with sixteen tokens.
fn row_products(codes: &[u8], bytes: &[u8], width: InputWidth, row: usize, columns: Range<usize>) -> [i32; LANES] {
    let mut products = [0i32; LANES];
    for column in columns {
        let code = codes[column / 4 * 64 + 4 * row + column % 4] as i32;
        for (lane, product) in products.iter_mut().enumerate() {
            let at = column / 4 * 64 + 4 * lane + column % 4;
            let byte = |plane: usize| (bytes[plane * PLANE + at] as i8) as i32;
            *product += code
                * match width {
                    InputWidth::OneByte => byte(0),
                    InputWidth::TwoBytes => 128 * byte(0) + byte(1),
                };
        }
    }
    products
}

/// Where the sums of a group's inputs lie among the numbers of 32.
#[inline(always)]
fn sums_at(columns: usize, group: usize) -> usize {
    if columns == K_STEP { LANES } else { (2 + group) * LANES }
}
