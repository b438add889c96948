//! NEON, which every 64-bit ARM processor has: [`multiply`](super::multiply), and the product of bytes of the integer kernels.

use super::{K_STEP, LANES, Rows};
use half::bf16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows of a register block: 4 rows x 16 lanes are sixteen accumulators, half of the registers.
const MR: usize = 4;
/// Lanes of a register.
const QUARTER: usize = 4;

/// # Safety
/// `Rows` and the caller's assertions bound every address.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    a.in_blocks::<MR>(b, panels, c, c_stride, |rows, b, c| {
        // SAFETY: `in_blocks` says how much may be read and written behind each.
        unsafe { block(rows, a.row_stride, a.step_stride, a.k, b, c, accumulate) }
    });
}

type Sums = [[float32x4_t; LANES / QUARTER]; MR];

#[target_feature(enable = "neon")]
unsafe fn block(
    a: *const bf16,
    row_stride: usize,
    step_stride: usize,
    k: usize,
    b: *const bf16,
    c: *mut f32,
    accumulate: bool,
) {
    // SAFETY: see `multiply`.
    unsafe {
        let mut sums: Sums = [[vdupq_n_f32(0.0); LANES / QUARTER]; MR];
        if accumulate {
            for (n, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                *sum = vld1q_f32(c.add(n * QUARTER));
            }
        }
        for i in (0..k).step_by(QUARTER) {
            let a = a.add(i / K_STEP * step_stride + i % K_STEP) as *const u16;
            let mut w = [vdupq_n_f32(0.0); MR];
            for (r, w) in w.iter_mut().enumerate() {
                *w = vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(a.add(r * row_stride))));
            }
            let b = b.add(i * LANES) as *const u32;
            add_pair::<0, 1>(&mut sums, w, b);
            add_pair::<2, 3>(&mut sums, w, b.add(LANES));
        }
        for (n, sum) in sums.as_flattened().iter().enumerate() {
            vst1q_f32(c.add(n * QUARTER), *sum);
        }
    }
}

/// Adds the products of columns `LOW` and `HIGH` of four rows with the pair of features at `b`.
///
/// # Safety
/// `b` points to sixteen pairs.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_pair<const LOW: i32, const HIGH: i32>(sums: &mut Sums, w: [float32x4_t; MR], b: *const u32) {
    for quarter in 0..LANES / QUARTER {
        // SAFETY: said above.
        let pairs = unsafe { vld1q_u32(b.add(quarter * QUARTER)) };
        let low = vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs));
        let high = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff_0000)));
        for (sums, w) in sums.iter_mut().zip(w) {
            sums[quarter] = vfmaq_laneq_f32::<LOW>(sums[quarter], low, w);
            sums[quarter] = vfmaq_laneq_f32::<HIGH>(sums[quarter], high, w);
        }
    }
}

/// Adds to each of four sums the products of its four bytes in `a` with the four of lane `LANE` of `b`: one `sdot` with `DOT`, else
/// widening products, of which two fit 16 bits as long as no byte of `b` is -128 where one of `a` is, too.
///
/// # Safety
/// With `DOT` the processor must have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot<const DOT: bool, const LANE: i32>(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    if DOT {
        // The intrinsic is not stable.
        let mut sum = sum;
        // SAFETY: the instruction reads and writes these registers only; that it is there is said above.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        return sum;
    }
    let b = vreinterpretq_s8_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(b)));
    let (low, high) = (vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
    vpadalq_s16(sum, vpaddq_s16(low, high))
}
