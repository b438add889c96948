//! The same with NEON: numbers are widened once for up to three queries.

use super::BLOCK_N;
use crate::simd::{K_STEP, LANES};
use half::bf16;
use std::arch::aarch64::*;

/// Numbers of two registers, once they are wide.
const STEP: usize = 8;
/// Numbers of a register.
const QUARTER: usize = 4;

/// # Safety
/// Keys are `[64][dim]`, `dim` a multiple of 32, queries `[scores.len()][dim]`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn score(keys: &[bf16], dim: usize, queries: &[f32], scores: &mut [[f32; BLOCK_N]]) {
    for (queries, scores) in queries.chunks(3 * dim).zip(scores.chunks_mut(3)) {
        // SAFETY: there are as many queries as scores.
        unsafe {
            match scores.len() {
                1 => of_queries::<1, 8>(keys, dim, queries, scores),
                2 => of_queries::<2, 8>(keys, dim, queries, scores),
                // Of eight keys, the compiler moves sums from register to register.
                _ => of_queries::<3, 4>(keys, dim, queries, scores),
            }
        }
    }
}

/// # Safety
/// As [`score`], with `Q` queries, `KEYS` keys at once.
#[target_feature(enable = "neon")]
unsafe fn of_queries<const Q: usize, const KEYS: usize>(
    keys: &[bf16],
    dim: usize,
    queries: &[f32],
    scores: &mut [[f32; BLOCK_N]],
) {
    const { assert!(K_STEP.is_multiple_of(STEP) && BLOCK_N.is_multiple_of(KEYS) && KEYS.is_multiple_of(QUARTER)) }
    for first in (0..BLOCK_N).step_by(KEYS) {
        let mut sums = [[vdupq_n_f32(0.0); KEYS]; Q];
        for step in (0..dim).step_by(STEP) {
            for key in 0..KEYS {
                // SAFETY: said above.
                unsafe {
                    let wide = widen(keys.as_ptr().add((first + key) * dim + step));
                    for (q, sums) in sums.iter_mut().enumerate() {
                        let query = queries.as_ptr().add(q * dim + step);
                        sums[key] = vfmaq_f32(sums[key], wide[0], vld1q_f32(query));
                        sums[key] = vfmaq_f32(sums[key], wide[1], vld1q_f32(query.add(QUARTER)));
                    }
                }
            }
        }
        for (sums, scores) in sums.into_iter().zip(scores.iter_mut()) {
            for (sums, scores) in sums.as_chunks::<QUARTER>().0.iter().zip(scores[first..].chunks_exact_mut(QUARTER)) {
                // SAFETY: four numbers.
                unsafe { vst1q_f32(scores.as_mut_ptr(), sums_of_each(*sums)) }
            }
        }
    }
}

/// Eight numbers as f32.
///
/// # Safety
/// There are as many.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widen(from: *const bf16) -> [float32x4_t; 2] {
    // SAFETY: said above.
    let bits = unsafe { vld1q_u16(from as *const u16) };
    let (low, high) = (vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits));
    [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
}

/// The sum of the lanes of each.
#[inline]
#[target_feature(enable = "neon")]
fn sums_of_each([a, b, c, d]: [float32x4_t; QUARTER]) -> float32x4_t {
    vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))
}

/// # Safety
/// Values are `[dim][64]`, sums `[dim][weights.len()]`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn add_values(values: &[bf16], weights: &[[f32; BLOCK_N]], sums: &mut [[f32; LANES]]) {
    for (values, sums) in values.chunks_exact(BLOCK_N).zip(sums.chunks_exact_mut(weights.len())) {
        let mut wide = [[vdupq_n_f32(0.0); 2]; BLOCK_N / STEP];
        for (n, wide) in wide.iter_mut().enumerate() {
            // SAFETY: `values` are 64 numbers.
            *wide = unsafe { widen(values.as_ptr().add(n * STEP)) };
        }
        let wide = wide.as_flattened();
        for (weights, sums) in weights.iter().zip(sums) {
            for quarter in 0..LANES / QUARTER {
                // SAFETY: each is of 64 or 16 numbers.
                unsafe {
                    let at = sums.as_mut_ptr().add(quarter * QUARTER);
                    let mut sum = vld1q_f32(at);
                    for n in (quarter..BLOCK_N / QUARTER).step_by(LANES / QUARTER) {
                        sum = vfmaq_f32(sum, wide[n], vld1q_f32(weights.as_ptr().add(n * QUARTER)));
                    }
                    vst1q_f32(at, sum);
                }
            }
        }
    }
}
