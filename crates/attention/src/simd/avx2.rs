//! [`multiply`](super::multiply) with AVX2 and FMA: bf16 pairs widen to f32 by a shift and a mask.

use super::{K_STEP, LANES, Rows};
use half::bf16;
use std::arch::x86_64::*;

/// Rows of a register block: 4 rows x 16 lanes are eight accumulators, which leaves room for the widened operands.
const MR: usize = 4;

/// # Safety
/// AVX2 and FMA must be present; `Rows` and the caller's assertions bound every address.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    a.in_blocks::<MR>(b, panels, c, c_stride, |rows, b, c| {
        // SAFETY: `in_blocks` says how much may be read and written behind each.
        unsafe { block(rows, a.row_stride, a.step_stride, a.k, b, c, accumulate) }
    });
}

#[target_feature(enable = "avx2,fma")]
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
        let mut sum = [[_mm256_setzero_ps(); 2]; MR];
        if accumulate {
            for (r, sum) in sum.iter_mut().enumerate() {
                *sum = [_mm256_loadu_ps(c.add(r * LANES)), _mm256_loadu_ps(c.add(r * LANES + 8))];
            }
        }
        let high = _mm256_set1_epi32(0xffff_0000u32 as i32);
        for pair in 0..k / 2 {
            let b = b.add(pair * 2 * LANES) as *const __m256i;
            let b = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
            let b0 = b.map(|b| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b)));
            let b1 = b.map(|b| _mm256_castsi256_ps(_mm256_and_si256(b, high)));
            let a = a.add(pair / (K_STEP / 2) * step_stride + pair % (K_STEP / 2) * 2);
            for (r, sum) in sum.iter_mut().enumerate() {
                let w = _mm256_set1_epi32((a.add(r * row_stride) as *const i32).read_unaligned());
                let w0 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(w));
                let w1 = _mm256_castsi256_ps(_mm256_and_si256(w, high));
                for half in 0..2 {
                    sum[half] = _mm256_fmadd_ps(w0, b0[half], _mm256_fmadd_ps(w1, b1[half], sum[half]));
                }
            }
        }
        for (r, sum) in sum.iter().enumerate() {
            _mm256_storeu_ps(c.add(r * LANES), sum[0]);
            _mm256_storeu_ps(c.add(r * LANES + 8), sum[1]);
        }
    }
}
