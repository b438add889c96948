//! Rounding with AVX-512: sixteen tokens a register.

use super::{LANES, NUMBERS, PLANE, most};
use std::arch::x86_64::*;

/// # Safety
/// AVX-512 F and BW must be present.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn quantise<const BYTES: usize>(x: &[u32], bytes: &mut [u32], numbers: &mut [f32]) {
    let most = _mm512_set1_ps(most(BYTES));
    let steps = x.chunks_exact(PLANE / 2).zip(bytes.chunks_exact_mut(BYTES * PLANE / 4));
    for ((x, bytes), numbers) in steps.zip(numbers.chunks_exact_mut(NUMBERS)) {
        // SAFETY: sixteen vectors of pairs, eight of words a byte, four of numbers.
        unsafe {
            let pairs = |n: usize| _mm512_loadu_si512(x.as_ptr().add(n * LANES) as *const __m512i);
            let mut largest = _mm512_setzero_si512();
            for n in 0..16 {
                largest = _mm512_max_epu16(largest, _mm512_and_si512(pairs(n), _mm512_set1_epi16(0x7fff)));
            }
            let odd = _mm512_and_si512(largest, _mm512_set1_epi32(0xffff_0000u32 as i32));
            let peak = _mm512_castsi512_ps(_mm512_max_epu32(_mm512_slli_epi32::<16>(largest), odd));
            // Where this would not be finite, all numbers are as good as zero.
            let inverse = _mm512_min_ps(_mm512_div_ps(most, peak), _mm512_set1_ps(f32::MAX));
            let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(peak, _mm512_set1_ps(f32::INFINITY));
            let scale = _mm512_mask_div_ps(_mm512_set1_ps(f32::NAN), finite, peak, most);
            let mut sums = [_mm512_setzero_si512(); 2];
            for four in 0..8 {
                let mut words = [_mm512_setzero_si512(); BYTES];
                for column in [3, 2, 1, 0] {
                    let pair = pairs(2 * four + column / 2);
                    let value = if column % 2 == 0 {
                        _mm512_slli_epi32::<16>(pair)
                    } else {
                        _mm512_and_si512(pair, _mm512_set1_epi32(0xffff_0000u32 as i32))
                    };
                    let integer = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(value), inverse));
                    sums[four / 4] = _mm512_add_epi32(sums[four / 4], integer);
                    if BYTES == 1 {
                        words[0] = push(words[0], integer);
                    } else {
                        let upper = _mm512_srai_epi32::<7>(_mm512_add_epi32(integer, _mm512_set1_epi32(64)));
                        words[0] = push(words[0], upper);
                        words[1] = push(words[1], _mm512_sub_epi32(integer, _mm512_slli_epi32::<7>(upper)));
                    }
                }
                for (plane, words) in words.into_iter().enumerate() {
                    let to = bytes.as_mut_ptr().add(plane * PLANE / 4 + four * LANES);
                    _mm512_storeu_si512(to as *mut __m512i, words);
                }
            }
            let sum = |x: __m512i| _mm512_mul_ps(scale, _mm512_cvtepi32_ps(x));
            let to = numbers.as_mut_ptr();
            _mm512_storeu_ps(to, scale);
            _mm512_storeu_ps(to.add(LANES), sum(_mm512_add_epi32(sums[0], sums[1])));
            _mm512_storeu_ps(to.add(2 * LANES), sum(sums[0]));
            _mm512_storeu_ps(to.add(3 * LANES), sum(sums[1]));
        }
    }
}

/// Puts the lowest byte of `x` below the three that stay of `words`.
#[inline]
#[target_feature(enable = "avx512f")]
fn push(words: __m512i, x: __m512i) -> __m512i {
    let byte = _mm512_and_si512(x, _mm512_set1_epi32(255));
    _mm512_or_si512(_mm512_slli_epi32::<8>(words), byte)
}
