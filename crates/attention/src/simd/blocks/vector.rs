//! The input of a one-row product in integers.

use crate::simd::{K_STEP, Simd};
use half::bf16;

/// A vector as 15-bit integers and an f32 scale for each 32 of them.
///
/// An element is off by at most half a scale, 1/32512 of the largest of its 32: less than its own rounding to bf16, unless it is small
/// beside that one. 8-bit integers, which would be off by 1/254, cost half of the products but change what models say
/// (`docs/kernels.md`). An infinity or NaN makes the scale NaN, and with it every product.
pub struct QuantisedVector {
    pub(super) groups: Vec<InputGroup>,
}

/// 32 elements, all of them in one place: a kernel then needs one address for each input.
#[derive(Clone, Copy, Default)]
pub(super) struct InputGroup {
    /// Four bytes a step. An integer is `128 * high + low`, -127 to 127 and -64 to 63: products of bytes are what processors have.
    pub high: [i32; K_STEP / 4],
    pub low: [i32; K_STEP / 4],
    pub scale: f32,
    /// Of the integers of both halves.
    sums: [i32; 2],
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
        let mut new = Self { groups: vec![InputGroup::default(); x.len() / K_STEP] };
        quantise(simd, bytemuck::cast_slice(x), &mut new.groups);
        new
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.groups.len() * K_STEP
    }
}

impl InputGroup {
    /// Sum of the integers of a group of weights: half of the 32 columns, or all.
    #[inline(always)]
    pub(super) fn sum(&self, group: usize, group_columns: usize) -> i32 {
        if group_columns == K_STEP { self.sums[0] + self.sums[1] } else { self.sums[group] }
    }
}

crate::multiversion! {
    fn quantise(x: &[u16], groups: &mut [InputGroup]) {
        for (x, out) in x.as_chunks::<K_STEP>().0.iter().zip(groups) {
            // Without their signs, bf16 numbers are ordered as their bits are.
            let largest = x.iter().fold(0, |most, x| (x & 0x7fff).max(most));
            let most = f32::from_bits((largest as u32) << 16);
            // Where this would not be finite, all numbers are as good as zero.
            let inverse = if most > 0.0 { (LARGEST / most).min(f32::MAX) } else { 0.0 };
            let (mut integers, mut high, mut low) = ([0i32; K_STEP], [0i8; K_STEP], [0i8; K_STEP]);
            for i in 0..K_STEP {
                let scaled = (f32::from_bits((x[i] as u32) << 16) * inverse).round_ties_even();
                integers[i] = scaled.clamp(-LARGEST, LARGEST) as i32;
                let upper = (integers[i] + 64) >> 7;
                high[i] = upper as i8;
                low[i] = (integers[i] - (upper << 7)) as i8;
            }
            out.high = bytemuck::cast(high);
            out.low = bytemuck::cast(low);
            out.scale = if largest >= 0x7f80 { f32::NAN } else { most / LARGEST };
            for half in 0..2 {
                out.sums[half] = integers[half * 16..][..16].iter().sum();
            }
        }
    }
}
