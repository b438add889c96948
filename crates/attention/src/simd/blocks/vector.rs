//! The input of a one-row product in integers.

use crate::simd::{K_STEP, Simd};
use half::bf16;

/// A vector as 15-bit integers and an f32 scale for each 32 of them.
///
/// An element is off by at most half a scale, 1/32512 of the largest of its 32: less than its own rounding to bf16, unless it is small
/// beside that one. 8-bit integers, which would be off by 1/254, cost half of the products but change what models say
/// (`docs/kernels.md`). An infinity or NaN makes the scale NaN, and with it every product.
pub struct QuantisedVector {
    /// An integer is `128 * high + low`, -127 to 127 and -64 to 63: products of bytes are what processors have.
    pub(super) high: Vec<i8>,
    pub(super) low: Vec<i8>,
    pub(super) scales: Vec<f32>,
    /// Of the integers of both halves of each 32.
    pub(super) sums: Vec<[i32; 2]>,
}

/// The largest integer.
const LARGEST: f32 = 127.0 * 128.0;

impl QuantisedVector {
    /// Rounds `x`.
    ///
    /// # Panics
    /// When the length is not a multiple of 32, or the processor does not have `simd`.
    pub fn new(simd: Simd, x: &[bf16]) -> Self {
        assert!(x.len().is_multiple_of(K_STEP), "{} numbers are not whole groups of {K_STEP}", x.len());
        let groups = x.len() / K_STEP;
        let bytes = || vec![0; x.len()];
        let mut new = Self { high: bytes(), low: bytes(), scales: vec![0.0; groups], sums: vec![[0; 2]; groups] };
        quantise(simd, bytemuck::cast_slice(x), &mut new.high, &mut new.low, &mut new.scales, &mut new.sums);
        new
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.high.len()
    }

    /// Sum of the integers of a group: half of the 32 columns of `block`, or all.
    #[inline(always)]
    pub(super) fn sum(&self, block: usize, group: usize, group_columns: usize) -> i32 {
        let sums = self.sums[block];
        if group_columns == K_STEP { sums[0] + sums[1] } else { sums[group] }
    }
}

crate::multiversion! {
    fn quantise(x: &[u16], high: &mut [i8], low: &mut [i8], scales: &mut [f32], sums: &mut [[i32; 2]]) {
        let bytes = high.as_chunks_mut::<K_STEP>().0.iter_mut().zip(low.as_chunks_mut::<K_STEP>().0);
        let groups = x.as_chunks::<K_STEP>().0.iter().zip(bytes).zip(scales.iter_mut().zip(sums));
        for ((x, (high, low)), (scale, sums)) in groups {
            // Without their signs, bf16 numbers are ordered as their bits are.
            let largest = x.iter().fold(0, |most, x| (x & 0x7fff).max(most));
            let most = f32::from_bits((largest as u32) << 16);
            // Where this would not be finite, all numbers are as good as zero.
            let inverse = if most > 0.0 { (LARGEST / most).min(f32::MAX) } else { 0.0 };
            *scale = if largest >= 0x7f80 { f32::NAN } else { most / LARGEST };
            let mut integers = [0i32; K_STEP];
            for i in 0..K_STEP {
                let scaled = (f32::from_bits((x[i] as u32) << 16) * inverse).round_ties_even();
                integers[i] = scaled.clamp(-LARGEST, LARGEST) as i32;
                let upper = (integers[i] + 64) >> 7;
                high[i] = upper as i8;
                low[i] = (integers[i] - (upper << 7)) as i8;
            }
            for half in 0..2 {
                sums[half] = integers[half * 16..][..16].iter().sum();
            }
        }
    }
}
