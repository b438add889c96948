//! Rounding with NEON: four tokens a register, which the loops of the portable code become in part only.

use super::{LANES, NUMBERS, PLANE, most};
use std::arch::aarch64::*;

/// Tokens of a register.
const TOKENS: usize = 4;

#[target_feature(enable = "neon")]
pub(super) fn quantise<const BYTES: usize>(x: &[u32], bytes: &mut [u32], numbers: &mut [f32]) {
    let steps = x.chunks_exact(PLANE / 2).zip(bytes.chunks_exact_mut(BYTES * PLANE / 4));
    for ((x, bytes), numbers) in steps.zip(numbers.chunks_exact_mut(NUMBERS)) {
        for token in (0..LANES).step_by(TOKENS) {
            // SAFETY: sixteen vectors of pairs of sixteen tokens, eight of words a byte, four of numbers.
            unsafe {
                let (bytes, numbers) = (bytes.as_mut_ptr().add(token), numbers.as_mut_ptr().add(token));
                four_tokens::<BYTES>(x.as_ptr().add(token), bytes, numbers);
            }
        }
    }
}

/// # Safety
/// Each points to the first of four tokens of 32 features.
#[target_feature(enable = "neon")]
unsafe fn four_tokens<const BYTES: usize>(x: *const u32, bytes: *mut u32, numbers: *mut f32) {
    // SAFETY: said above.
    unsafe {
        let most = vdupq_n_f32(most(BYTES));
        let odd = vdupq_n_u32(0xffff_0000);
        let pairs = |n: usize| vld1q_u32(x.add(n * LANES));
        // Without their signs, bf16 numbers are ordered as their bits are.
        let mut largest = vdupq_n_u16(0);
        for n in 0..16 {
            largest = vmaxq_u16(largest, vandq_u16(vreinterpretq_u16_u32(pairs(n)), vdupq_n_u16(0x7fff)));
        }
        let largest = vreinterpretq_u32_u16(largest);
        let peak = vreinterpretq_f32_u32(vmaxq_u32(vshlq_n_u32::<16>(largest), vandq_u32(largest, odd)));
        // Where this would not be finite, all numbers are as good as zero.
        let inverse = vminq_f32(vdivq_f32(most, peak), vdupq_n_f32(f32::MAX));
        let finite = vcltq_f32(peak, vdupq_n_f32(f32::INFINITY));
        let scale = vbslq_f32(finite, vdivq_f32(peak, most), vdupq_n_f32(f32::NAN));
        let mut sums = [vdupq_n_s32(0); 2];
        for four in 0..8 {
            let mut words = [vdupq_n_s32(0); BYTES];
            for column in [3, 2, 1, 0] {
                let pair = pairs(2 * four + column / 2);
                let value = if column % 2 == 0 { vshlq_n_u32::<16>(pair) } else { vandq_u32(pair, odd) };
                let integer = vcvtnq_s32_f32(vmulq_f32(vreinterpretq_f32_u32(value), inverse));
                sums[four / 4] = vaddq_s32(sums[four / 4], integer);
                // The lowest byte of each goes below the three that stay of the words.
                if BYTES == 1 {
                    words[0] = vsliq_n_s32::<8>(integer, words[0]);
                } else {
                    let upper = vshrq_n_s32::<7>(vaddq_s32(integer, vdupq_n_s32(64)));
                    words[0] = vsliq_n_s32::<8>(upper, words[0]);
                    words[1] = vsliq_n_s32::<8>(vsubq_s32(integer, vshlq_n_s32::<7>(upper)), words[1]);
                }
            }
            for (plane, words) in words.into_iter().enumerate() {
                vst1q_u32(bytes.add(plane * PLANE / 4 + four * LANES), vreinterpretq_u32_s32(words));
            }
        }
        let [first, second] = sums;
        vst1q_f32(numbers, scale);
        for (n, sum) in [vaddq_s32(first, second), first, second].into_iter().enumerate() {
            vst1q_f32(numbers.add((n + 1) * LANES), vmulq_f32(scale, vcvtq_f32_s32(sum)));
        }
    }
}
