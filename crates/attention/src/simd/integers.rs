//! Products of panels in 15-bit integers, for attention.
//!
//! `vpdpwssd` multiplies pairs of 16-bit integers at the rate of 8-bit ones. A sum of products of integers fits 32 bits whenever the
//! norms of both operands do, by the inequality of Cauchy and Schwarz: so every row and every lane gets the scale that makes its
//! norm [`NORM`]. Of 64 numbers of about one size each then keeps 12 bits, where bf16 keeps 8.

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::{LANES, Simd};
use crate::Aligned;
use half::bf16;

/// Euclidean norm of an operand in integers, before they are rounded. Two of these, with half a step more for each of up to a
/// million numbers, multiply to less than 2^31.
const NORM: f32 = 32000.0;

/// Largest norm that the right operand of a product may have, where the left one's is [`NORM`]; see [`PanelsOfIntegers`].
pub(crate) const LARGEST_NORM: usize = 1 << 16;

/// Rows of up to 4,096 features in integers: a left operand.
pub(crate) struct IntegerRows {
    k: usize,
    /// `[row][k]`.
    numbers: Aligned<i16>,
    /// What one is worth in each row.
    steps: Vec<f32>,
}

impl IntegerRows {
    /// Rounds rows of `k` features.
    ///
    /// # Panics
    /// When `rows` is not of whole groups of sixteen, or `k` odd.
    pub(crate) fn round(simd: Simd, rows: &[bf16], k: usize) -> Self {
        assert!(k > 0 && k.is_multiple_of(2) && rows.len().is_multiple_of(16 * k), "{} numbers by {k}", rows.len());
        let mut numbers = Aligned::zeroed(rows.len());
        let mut steps = vec![0.0; rows.len() / k];
        round_rows(simd, bytemuck::cast_slice(rows), k, &mut numbers, &mut steps);
        Self { k, numbers, steps }
    }
}

/// Panels in integers: a right operand.
#[derive(Clone, Copy)]
pub(crate) struct PanelsOfIntegers<'a> {
    /// `[panel][k / 2][16]` pairs. The norm of a lane is at most [`LARGEST_NORM`].
    pub numbers: &'a [[u32; LANES]],
    /// What one is worth in each lane of each panel.
    pub steps: &'a [[f32; LANES]],
}

/// Rounds packed panels of `numbers.len() / steps.len()` pairs.
pub(crate) fn round_panels(simd: Simd, packed: &[bf16], numbers: &mut [[u32; LANES]], steps: &mut [[f32; LANES]]) {
    assert!(packed.len() == 2 * numbers.as_flattened().len(), "{} numbers, {} pairs", packed.len(), numbers.len());
    let pairs = numbers.len() / steps.len();
    let panels = bytemuck::cast_slice::<bf16, [u32; LANES]>(packed).chunks_exact(pairs);
    for ((packed, numbers), steps) in panels.zip(numbers.chunks_exact_mut(pairs)).zip(steps) {
        round_panel(simd, packed, numbers, steps);
    }
}

/// Added to a number below 2^22, leaves it rounded in the low bits.
const ROUND: f32 = 12582912.0;

/// Scale and step of numbers of this norm. Of what is no number the step is none either.
#[inline(always)]
fn scale_and_step(squares: f32) -> (f32, f32) {
    let norm = squares.sqrt();
    (if norm > 0.0 { NORM / norm } else { 0.0 }, norm / NORM)
}

crate::multiversion! {
    fn round_rows(rows: &[u16], k: usize, numbers: &mut [i16], steps: &mut [f32]) {
        let wide = |x: u16| f32::from_bits((x as u32) << 16);
        for ((row, numbers), step) in rows.chunks_exact(k).zip(numbers.chunks_exact_mut(k)).zip(steps) {
            let mut squares = [0f32; LANES];
            for row in row.chunks(LANES) {
                for (sum, &x) in squares.iter_mut().zip(row) {
                    *sum = crate::simd::fma::<FMA>(wide(x), wide(x), *sum);
                }
            }
            let (scale, worth) = scale_and_step(squares.iter().sum());
            *step = worth;
            for (number, &x) in numbers.iter_mut().zip(row) {
                *number = crate::simd::fma::<FMA>(wide(x), scale, ROUND).to_bits() as i16;
            }
        }
    }
}

crate::multiversion! {
    fn round_panel(packed: &[[u32; LANES]], numbers: &mut [[u32; LANES]], steps: &mut [f32; LANES]) {
        let wide = |pair: u32| (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
        let mut squares = [0f32; LANES];
        for pairs in packed {
            for lane in 0..LANES {
                let (low, high) = wide(pairs[lane]);
                squares[lane] += low * low + high * high;
            }
        }
        let mut scales = [0f32; LANES];
        for lane in 0..LANES {
            (scales[lane], steps[lane]) = scale_and_step(squares[lane]);
        }
        for (pairs, numbers) in packed.iter().zip(numbers) {
            *numbers = crate::simd::each_lane(|lane| {
                let (low, high) = wide(pairs[lane]);
                pair_of(low * scales[lane], high * scales[lane])
            });
        }
    }
}

/// Two numbers of at most 2^15, rounded, as a pair of 16-bit integers.
#[inline(always)]
pub(crate) fn pair_of(low: f32, high: f32) -> u32 {
    ((low + ROUND).to_bits() & 0xffff) | (high + ROUND).to_bits() << 16
}

/// `c[p][r][lane] (+)= sum over k of a[r][k] * b[p][k][lane]`, as [`multiply`](super::multiply).
///
/// # Panics
/// When the operands are not of as many features, `c` is too short, panels of `c` overlap, or the processor does not have `simd`.
pub(crate) fn multiply(
    simd: Simd,
    a: &IntegerRows,
    b: PanelsOfIntegers,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let (panels, height) = (b.steps.len(), a.steps.len() * LANES);
    let (k, pairs) = (a.k, b.numbers.len());
    assert!(panels > 0 && pairs == panels * k / 2, "rows of {k} features on {panels} panels of {pairs} pairs in all");
    assert!(c_stride >= height && c.len() >= (panels - 1) * c_stride + height, "{panels} panels into {}", c.len());
    simd.assert_available();
    match simd {
        // SAFETY: `assert_available` found the set on this machine; the assertions above bound every address.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Vnni => unsafe { avx512::multiply(a, b, c, c_stride, accumulate) },
        _ => portable(a, b, c, c_stride, accumulate),
    }
}

/// What the others are compared with; no set that is taken for attention ends here.
fn portable(a: &IntegerRows, b: PanelsOfIntegers, c: &mut [f32], c_stride: usize, accumulate: bool) {
    let panels = b.numbers.chunks_exact(a.k / 2).zip(b.steps).zip(c.chunks_mut(c_stride));
    for ((numbers, b_steps), c) in panels {
        let rows = a.numbers.chunks_exact(a.k).zip(&a.steps).zip(c.as_chunks_mut::<LANES>().0);
        for ((row, a_step), c) in rows {
            for (lane, c) in c.iter_mut().enumerate() {
                let pair = |(w, x): (&[i16], &[u32; LANES])| {
                    i32::from(w[0]) * i32::from(x[lane] as i16) + i32::from(w[1]) * i32::from((x[lane] >> 16) as i16)
                };
                let sum: i32 = row.chunks_exact(2).zip(numbers).map(pair).sum();
                *c = sum as f32 * (a_step * b_steps[lane]) + if accumulate { *c } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests;
