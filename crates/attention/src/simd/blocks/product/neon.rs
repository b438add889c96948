//! `sdot`: four bytes of four tokens times four columns of a row, so that lanes are tokens, as in the result.

use super::{LANES, NUMBERS, PLANE, STEP_CODES, sums_at};
use crate::simd::blocks::{QuantisedPanels, Slab};
use crate::simd::neon::dot;
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::aarch64::*;
use std::ops::Range;

/// Rows of a register block: with two bytes, sixteen sums of products and eight of results stay in registers.
const ROWS: usize = 4;
/// Tokens of a register.
const TOKENS: usize = 4;
/// Registers of tokens of a register block.
const PAIR: usize = 2;

/// # Safety
/// With `DOT` the processor must have the dot product instructions; panels, slab and result are as `super::multiply_integers` asserts.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply<const DOT: bool>(
    a: &Slab,
    x: &QuantisedPanels,
    steps: Range<usize>,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let width = x.width().bytes();
    for panel in 0..x.count() {
        let bytes = x.bytes[(panel * x.steps + steps.start) * width * PLANE..].as_ptr();
        let numbers = x.numbers[(panel * x.steps + steps.start) * NUMBERS..].as_ptr();
        for row in (0..a.rows()).step_by(ROWS) {
            let (tile, of_tile) = (row / ROW_TILE, row % ROW_TILE);
            let block = Block::<DOT> {
                codes: a.codes[(tile * a.steps + steps.start) * STEP_CODES + 4 * of_tile..].as_ptr(),
                scales: a.scales[tile * a.tile_numbers() + steps.start * a.step_numbers() + of_tile..].as_ptr(),
                steps: steps.len(),
            };
            let c = &mut c[panel * c_stride + row * LANES..][..ROWS * LANES];
            for token in (0..LANES).step_by(PAIR * TOKENS) {
                // SAFETY: the slab has `steps` steps of four rows from here, the panel as many; `c` has four rows.
                unsafe {
                    let (bytes, numbers, c) = (bytes.add(4 * token), numbers.add(token), c.as_mut_ptr().add(token));
                    match (a.bits == 8, a.group, width) {
                        (true, _, 1) => block.run::<true, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (true, ..) => block.run::<true, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (_, K_STEP, 1) => block.run::<false, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (_, K_STEP, _) => block.run::<false, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (_, _, 1) => block.run::<false, 16, 1>(bytes, numbers, c, accumulate),
                        (..) => block.run::<false, 16, 2>(bytes, numbers, c, accumulate),
                    }
                }
            }
        }
    }
}

/// Sums of a pair of registers of tokens and four rows.
type Sums<T> = [[T; ROWS]; PAIR];

/// Four rows of a slab.
struct Block<const DOT: bool> {
    codes: *const u8,
    scales: *const f32,
    steps: usize,
}

impl<const DOT: bool> Block<DOT> {
    /// `WHOLE` codes are of 8 bits, and taken less 128: the code of weight 0 of the format that has them.
    ///
    /// # Safety
    /// As [`multiply`]: bytes, numbers and results of the first of eight tokens.
    #[target_feature(enable = "neon")]
    unsafe fn run<const WHOLE: bool, const GROUP: usize, const BYTES: usize>(
        &self,
        bytes: *const u8,
        numbers: *const f32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let mut sums: Sums<float32x4_t> = [[vdupq_n_f32(0.0); ROWS]; PAIR];
        for step in 0..self.steps {
            for group in 0..K_STEP / GROUP {
                // SAFETY: said above; a step has 512 codes a tile, `BYTES` planes of bytes and four vectors of numbers.
                unsafe {
                    let mut products: [Sums<int32x4_t>; BYTES] = [[[vdupq_n_s32(0); ROWS]; PAIR]; BYTES];
                    for four in group * GROUP / 4..(group + 1) * GROUP / 4 {
                        let codes = vld1q_u8(self.codes.add(step * STEP_CODES + four * 64));
                        let codes = if WHOLE { veorq_u8(codes, vdupq_n_u8(128)) } else { codes };
                        let bytes = bytes.add(step * BYTES * PLANE + four * 64);
                        for (plane, products) in products.iter_mut().enumerate() {
                            add_four::<DOT>(vreinterpretq_s8_u8(codes), bytes.add(plane * PLANE), products);
                        }
                    }
                    let numbers = numbers.add(step * NUMBERS);
                    let of_group = numbers.add(sums_at(GROUP, group));
                    let scales = self.scales.add((step * (K_STEP / GROUP) + group) * 2 * ROW_TILE);
                    let (scales, minima) = (vld1q_f32(scales), vld1q_f32(scales.add(ROW_TILE)));
                    for n in 0..PAIR {
                        let scaled = Scaled {
                            numbers: vld1q_f32(numbers.add(n * TOKENS)),
                            of_group: vld1q_f32(of_group.add(n * TOKENS)),
                            scales,
                            minima,
                        };
                        scaled.add::<WHOLE, BYTES, 0>(&mut sums[n][0], products.each_ref().map(|of| of[n][0]));
                        scaled.add::<WHOLE, BYTES, 1>(&mut sums[n][1], products.each_ref().map(|of| of[n][1]));
                        scaled.add::<WHOLE, BYTES, 2>(&mut sums[n][2], products.each_ref().map(|of| of[n][2]));
                        scaled.add::<WHOLE, BYTES, 3>(&mut sums[n][3], products.each_ref().map(|of| of[n][3]));
                    }
                }
            }
        }
        for (n, sums) in sums.into_iter().enumerate() {
            for (row, sum) in sums.into_iter().enumerate() {
                // SAFETY: four tokens of a row.
                unsafe {
                    let c = c.add(row * LANES + n * TOKENS);
                    vst1q_f32(c, if accumulate { vaddq_f32(vld1q_f32(c), sum) } else { sum });
                }
            }
        }
    }
}

/// Adds products of four columns of four rows with eight tokens.
///
/// # Safety
/// As [`multiply`]; `bytes` points to four bytes of each of the tokens.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_four<const DOT: bool>(codes: int8x16_t, bytes: *const u8, products: &mut Sums<int32x4_t>) {
    for (n, products) in products.iter_mut().enumerate() {
        // SAFETY: said above.
        unsafe {
            let x = vld1q_s8(bytes.add(n * 16) as *const i8);
            products[0] = dot::<DOT, 0>(products[0], x, codes);
            products[1] = dot::<DOT, 1>(products[1], x, codes);
            products[2] = dot::<DOT, 2>(products[2], x, codes);
            products[3] = dot::<DOT, 3>(products[3], x, codes);
        }
    }
}

/// What four tokens are worth, and four rows.
struct Scaled {
    /// Of the tokens.
    numbers: float32x4_t,
    /// Sums of the inputs of the tokens.
    of_group: float32x4_t,
    /// Of the rows.
    scales: float32x4_t,
    minima: float32x4_t,
}

impl Scaled {
    /// Adds products of row `ROW`, of each byte of the inputs, times scales, less the minimum times the sums of inputs.
    #[inline]
    #[target_feature(enable = "neon")]
    fn add<const WHOLE: bool, const BYTES: usize, const ROW: i32>(
        &self,
        sum: &mut float32x4_t,
        products: [int32x4_t; BYTES],
    ) {
        let mut product = products[0];
        if BYTES == 2 {
            product = vaddq_s32(vshlq_n_s32::<7>(product), products[1]);
        }
        let scale = vmulq_laneq_f32::<ROW>(self.numbers, self.scales);
        *sum = vfmaq_f32(*sum, vcvtq_f32_s32(product), scale);
        if !WHOLE {
            *sum = vfmsq_laneq_f32::<ROW>(*sum, self.of_group, self.minima);
        }
    }
}
