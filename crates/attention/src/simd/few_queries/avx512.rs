//! The same with AVX-512: numbers are widened once for up to three queries.

use super::BLOCK_N;
use crate::simd::{K_STEP, LANES};
use half::bf16;
use std::arch::x86_64::*;

/// Keys at once: with three queries, 24 sums stay in registers.
const KEYS: usize = 8;

/// # Safety
/// AVX-512 F must be present; keys are `[64][dim]`, `dim` a multiple of 32, queries `[scores.len()][dim]`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn score(keys: &[bf16], dim: usize, queries: &[f32], scores: &mut [[f32; BLOCK_N]]) {
    for (queries, scores) in queries.chunks(3 * dim).zip(scores.chunks_mut(3)) {
        // SAFETY: there are as many queries as scores.
        unsafe {
            match scores.len() {
                1 => of_queries::<1>(keys, dim, queries, scores),
                2 => of_queries::<2>(keys, dim, queries, scores),
                _ => of_queries::<3>(keys, dim, queries, scores),
            }
        }
    }
}

/// # Safety
/// As [`score`], with `Q` queries.
#[target_feature(enable = "avx512f")]
unsafe fn of_queries<const Q: usize>(keys: &[bf16], dim: usize, queries: &[f32], scores: &mut [[f32; BLOCK_N]]) {
    for first in (0..BLOCK_N).step_by(KEYS) {
        let mut sums = [[_mm512_setzero_ps(); KEYS]; Q];
        for step in (0..dim).step_by(LANES) {
            for key in 0..KEYS {
                // SAFETY: said above.
                unsafe {
                    let key_at = keys.as_ptr().add((first + key) * dim + step);
                    let wide = widen(key_at);
                    for (q, sums) in sums.iter_mut().enumerate() {
                        let query = _mm512_loadu_ps(queries.as_ptr().add(q * dim + step));
                        sums[key] = _mm512_fmadd_ps(wide, query, sums[key]);
                    }
                }
            }
        }
        for (sums, scores) in sums.into_iter().zip(scores.iter_mut()) {
            // SAFETY: `scores` is of a multiple of `KEYS`.
            unsafe { _mm256_storeu_ps(scores.as_mut_ptr().add(first), sums_of_each(sums)) }
        }
    }
}

/// Sixteen numbers as f32.
///
/// # Safety
/// There are as many.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen(from: *const bf16) -> __m512 {
    // SAFETY: said above.
    let bits = unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(from as *const __m256i)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
}

/// The sum of the lanes of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_of_each(of: [__m512; KEYS]) -> __m256 {
    let low = quarter_sums(of[0], of[1], of[2], of[3]);
    let high = quarter_sums(of[4], of[5], of[6], of[7]);
    let halves = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(low, high), _mm512_shuffle_f32x4::<0xdd>(low, high));
    let even = _mm512_shuffle_f32x4::<0x88>(halves, halves);
    let odd = _mm512_shuffle_f32x4::<0xdd>(halves, halves);
    _mm512_castps512_ps256(_mm512_add_ps(even, odd))
}

/// In each quarter, the sums of that quarter of all four.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter_sums(a: __m512, b: __m512, c: __m512, d: __m512) -> __m512 {
    let ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
    let cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
    let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
    _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
}

/// # Safety
/// AVX-512 F must be present; values are `[dim][64]`, sums `[dim][weights.len()]`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_values(values: &[bf16], weights: &[[f32; BLOCK_N]], sums: &mut [[f32; LANES]]) {
    const { assert!(BLOCK_N == 4 * LANES && BLOCK_N.is_multiple_of(KEYS) && K_STEP.is_multiple_of(LANES)) }
    for (values, sums) in values.chunks_exact(BLOCK_N).zip(sums.chunks_exact_mut(weights.len())) {
        // SAFETY: each is of 64 or 16 numbers.
        unsafe {
            let values = values.as_ptr();
            let wide = [widen(values), widen(values.add(16)), widen(values.add(32)), widen(values.add(48))];
            for (weights, sums) in weights.iter().zip(sums) {
                let weights = weights.as_ptr();
                let mut sum = _mm512_loadu_ps(sums.as_ptr());
                for (part, wide) in wide.into_iter().enumerate() {
                    sum = _mm512_fmadd_ps(wide, _mm512_loadu_ps(weights.add(part * LANES)), sum);
                }
                _mm512_storeu_ps(sums.as_mut_ptr(), sum);
            }
        }
    }
}
