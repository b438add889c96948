//! One-row products with `sdot`: four columns of four rows an instruction.

use super::format::Format;
use super::vector::QuantisedVector;
use crate::simd::neon::dot;
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows of a register.
const ROWS: usize = 4;
/// Registers of a tile.
const QUARTERS: usize = ROW_TILE / ROWS;
/// Columns of a register of inputs.
const COLUMNS: usize = 16;

/// # Safety
/// With `DOT` the processor must have the dot product instructions.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply<F: Format, const DOT: bool>(
    scales: &[u8],
    codes: &[u8],
    x: &QuantisedVector,
    out: &mut [f32],
) {
    let blocks = x.len() / K_STEP;
    let tiles = scales.chunks_exact(blocks * K_STEP / F::SUPER * F::SCALE_BYTES);
    for ((scales, codes), out) in
        tiles.zip(codes.chunks_exact(blocks * F::CODE_BYTES)).zip(out.chunks_exact_mut(ROW_TILE))
    {
        let mut sums = [vdupq_n_f32(0.0); QUARTERS];
        let supers = scales.chunks_exact(F::SCALE_BYTES).zip(codes.chunks_exact(F::SUPER / K_STEP * F::CODE_BYTES));
        let supers = supers.zip(x.groups.chunks_exact(F::SUPER / K_STEP));
        for ((scales, codes), x) in supers {
            for (b, (codes, x)) in codes.chunks_exact(F::CODE_BYTES).zip(x).enumerate() {
                for group in 0..K_STEP / F::GROUP {
                    let mut products = [[vdupq_n_s32(0); 2]; QUARTERS];
                    let x_sum = x.sum(group, F::GROUP);
                    let of_group = b * K_STEP / F::GROUP + group;
                    let mut minimum = [vdupq_n_f32(0.0); QUARTERS];
                    // SAFETY: `codes` are the `CODE_BYTES` of a block and inputs eight words of either byte; scales are
                    // `SCALE_BYTES`.
                    let scale = unsafe {
                        for half in group * F::GROUP / COLUMNS..(group + 1) * F::GROUP / COLUMNS {
                            let high = vreinterpretq_s8_s32(vld1q_s32(x.high.as_ptr().add(4 * half)));
                            let low = vreinterpretq_s8_s32(vld1q_s32(x.low.as_ptr().add(4 * half)));
                            add_step::<F, DOT, 0>(codes.as_ptr(), 4 * half, high, low, &mut products);
                            add_step::<F, DOT, 1>(codes.as_ptr(), 4 * half, high, low, &mut products);
                            add_step::<F, DOT, 2>(codes.as_ptr(), 4 * half, high, low, &mut products);
                            add_step::<F, DOT, 3>(codes.as_ptr(), 4 * half, high, low, &mut products);
                        }
                        if F::MINIMA {
                            minimum = group_scales::<F>(scales.as_ptr(), of_group, 1);
                        }
                        group_scales::<F>(scales.as_ptr(), of_group, 0)
                    };
                    // Signed 8-bit codes have their zero at 0.
                    let zero = vdupq_n_s32(if F::BITS == 8 { 0 } else { -F::ZERO * x_sum });
                    for quarter in 0..QUARTERS {
                        let [high, low] = products[quarter];
                        let product = vaddq_s32(vshlq_n_s32::<7>(high), vaddq_s32(low, zero));
                        let scale = vmulq_n_f32(scale[quarter], x.scale);
                        sums[quarter] = vfmaq_f32(sums[quarter], vcvtq_f32_s32(product), scale);
                        if F::MINIMA {
                            let x_sum = vdupq_n_f32(x.scale * x_sum as f32);
                            sums[quarter] = vfmsq_f32(sums[quarter], minimum[quarter], x_sum);
                        }
                    }
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(ROWS)) {
            // SAFETY: four numbers.
            unsafe { vst1q_f32(out.as_mut_ptr(), sums) }
        }
    }
}

/// Adds the products of the codes of step `first + LANE` with that lane of the upper and lower bytes of the inputs.
///
/// # Safety
/// As [`multiply`]; `block` points to a block, and the step is below 8.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_step<F: Format, const DOT: bool, const LANE: i32>(
    block: *const u8,
    first: usize,
    high: int8x16_t,
    low: int8x16_t,
    products: &mut [[int32x4_t; 2]; QUARTERS],
) {
    for (quarter, products) in products.iter_mut().enumerate() {
        // SAFETY: said above.
        unsafe {
            let codes = step_codes::<F>(block.add(16 * quarter), first + LANE as usize);
            products[0] = dot::<DOT, LANE>(products[0], codes, high);
            products[1] = dot::<DOT, LANE>(products[1], codes, low);
        }
    }
}

/// Codes of four columns of four rows; 8-bit codes less 128.
///
/// # Safety
/// `block` points to a quarter of the first vector of a block; the step is below 8.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step_codes<F: Format>(block: *const u8, step: usize) -> int8x16_t {
    // SAFETY: a quarter of each vector of 64 bytes.
    let vector = |n: usize| unsafe { vld1q_u8(block.add(64 * n)) };
    if F::BITS == 8 {
        return vreinterpretq_s8_u8(veorq_u8(vector(step), vdupq_n_u8(128)));
    }
    let pair = vector(step / 2);
    let mut codes = if step.is_multiple_of(2) { vandq_u8(pair, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(pair) };
    for plane in 0..F::BITS - 4 {
        // Bit `step` of each byte to its place; below zero the shift is to the right.
        let bits = vshlq_u8(vector(4 + plane), vdupq_n_s8((4 + plane) as i8 - step as i8));
        codes = vorrq_u8(codes, vandq_u8(bits, vdupq_n_u8(16 << plane)));
    }
    vreinterpretq_s8_u8(codes)
}

/// Scales (`kind` 0) or minima (1) of the sixteen rows, of a group of columns.
///
/// # Safety
/// `scales` points to the `SCALE_BYTES` of a format that has this kind, of at least as many groups.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn group_scales<F: Format>(scales: *const u8, group: usize, kind: usize) -> [float32x4_t; QUARTERS] {
    let mut of = [vdupq_n_f32(0.0); QUARTERS];
    // SAFETY: the factors come first, sixteen of two bytes; then sixteen bytes a kind of each group.
    unsafe {
        for (quarter, of) in of.iter_mut().enumerate() {
            *of = halves(vld1_u8(scales.add(kind * F::FACTOR_BYTES + 2 * ROWS * quarter)));
        }
        if F::NESTED {
            let nested = vld1q_s8(scales.add(F::FACTORS_BYTES + group * F::GROUP_BYTES + kind * ROW_TILE) as *const i8);
            let (low, high) = (vmovl_s8(vget_low_s8(nested)), vmovl_high_s8(nested));
            of[0] = vmulq_f32(of[0], vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))));
            of[1] = vmulq_f32(of[1], vcvtq_f32_s32(vmovl_high_s16(low)));
            of[2] = vmulq_f32(of[2], vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))));
            of[3] = vmulq_f32(of[3], vcvtq_f32_s32(vmovl_high_s16(high)));
        }
    }
    of
}

/// Four f16 numbers as f32.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bits: uint8x8_t) -> float32x4_t {
    let wide: float32x4_t;
    // The intrinsic is not stable.
    // SAFETY: the instruction is NEON's, and reads and writes these registers only.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {bits:v}.4h",
            wide = lateout(vreg) wide,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}
