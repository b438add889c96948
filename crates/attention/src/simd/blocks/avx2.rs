//! One-row products with `vpmaddubsw`: four columns of eight rows in three instructions.

use super::format::Format;
use super::vector::{InputGroup, QuantisedVector};
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::x86_64::*;
use std::ops::Range;

/// # Safety
/// AVX2, FMA and F16C must be present.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply<F: Format>(scales: &[u8], codes: &[u8], x: &QuantisedVector, out: &mut [f32]) {
    let blocks = x.len() / K_STEP;
    let tiles = scales.chunks_exact(blocks * K_STEP / F::SUPER * F::SCALE_BYTES);
    for ((scales, codes), out) in
        tiles.zip(codes.chunks_exact(blocks * F::CODE_BYTES)).zip(out.chunks_exact_mut(ROW_TILE))
    {
        let mut sums = [_mm256_setzero_ps(); 2];
        let supers = scales.chunks_exact(F::SCALE_BYTES).zip(codes.chunks_exact(F::SUPER / K_STEP * F::CODE_BYTES));
        for (n, (scales, codes)) in supers.enumerate() {
            for (b, codes) in codes.chunks_exact(F::CODE_BYTES).enumerate() {
                let block = n * (F::SUPER / K_STEP) + b;
                let x = &x.groups[block];
                for group in 0..K_STEP / F::GROUP {
                    let x_sum = x.sum(group, F::GROUP);
                    let nested_at = F::FACTORS_BYTES + (b * K_STEP / F::GROUP + group) * F::GROUP_BYTES;
                    for (half, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: `codes` are the `CODE_BYTES` of a block; scales are `SCALE_BYTES`, the factors first, then
                        // those of each group. A half is of eight rows.
                        unsafe {
                            let steps = group * F::GROUP / 4..(group + 1) * F::GROUP / 4;
                            let product = dot::<F>(codes.as_ptr().add(32 * half), x, steps, x_sum);
                            let kind = |kind: usize| {
                                let factor = half8(scales.as_ptr().add(kind * F::FACTOR_BYTES + 16 * half));
                                if !F::NESTED {
                                    return factor;
                                }
                                let nested = scales.as_ptr().add(nested_at + kind * ROW_TILE + 8 * half);
                                _mm256_mul_ps(factor, bytes8(nested))
                            };
                            let scale = _mm256_mul_ps(kind(0), _mm256_set1_ps(x.scale));
                            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), scale, *sum);
                            if F::MINIMA {
                                *sum = _mm256_fnmadd_ps(kind(1), _mm256_set1_ps(x.scale * x_sum as f32), *sum);
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: `out` is of sixteen numbers.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[1]);
        }
    }
}

/// Products of the codes of eight rows, less `ZERO`, with the input.
///
/// # Safety
/// `block` points to a block, or to the upper half of its first vector; `steps` are below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot<F: Format>(block: *const u8, input: &InputGroup, steps: Range<usize>, x_sum: i32) -> __m256i {
    // SAFETY: said above.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut products = [_mm256_setzero_si256(); 2];
        for step in steps {
            let codes = step_codes::<F>(block, step);
            for (product, x) in products.iter_mut().zip([&input.high, &input.low]) {
                let x = _mm256_set1_epi32(x[step]);
                // Sums of two products must fit 16 bits. Those of 6-bit codes do; 8-bit codes become signed (their zero is 128),
                // and their sign goes to the input, of which none is -128.
                let pairs = if F::BITS == 8 {
                    let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                    _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed))
                } else {
                    _mm256_maddubs_epi16(codes, x)
                };
                *product = _mm256_add_epi32(*product, _mm256_madd_epi16(pairs, ones));
            }
        }
        let zero = if F::BITS == 8 { 0 } else { -F::ZERO * x_sum };
        let low = _mm256_add_epi32(products[1], _mm256_set1_epi32(zero));
        _mm256_add_epi32(_mm256_slli_epi32::<7>(products[0]), low)
    }
}

/// # Safety
/// As [`dot`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step_codes<F: Format>(block: *const u8, step: usize) -> __m256i {
    // SAFETY: a half of each vector of 64 bytes.
    unsafe {
        let vector = |n: usize| _mm256_loadu_si256(block.add(64 * n) as *const __m256i);
        if F::BITS == 8 {
            return vector(step);
        }
        let pair = vector(step / 2);
        let nibbles = if step.is_multiple_of(2) { pair } else { _mm256_srli_epi16::<4>(pair) };
        let mut codes = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        for plane in 0..F::BITS - 4 {
            let bit = _mm256_set1_epi8((1u8 << step) as i8);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(vector(4 + plane), bit), bit);
            codes = _mm256_or_si256(codes, _mm256_and_si256(set, _mm256_set1_epi8(16 << plane)));
        }
        codes
    }
}

/// # Safety
/// `at` points to eight f16 numbers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn half8(at: *const u8) -> __m256 {
    // SAFETY: said above.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at as *const __m128i)) }
}

/// # Safety
/// `at` points to eight bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bytes8(at: *const u8) -> __m256 {
    // SAFETY: said above.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at as *const __m128i))) }
}
