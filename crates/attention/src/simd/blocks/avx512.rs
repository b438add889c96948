//! Products of a few rows with `vpdpbusd`: four columns of sixteen rows an instruction; and tiles to bf16.

use super::format::Format;
use super::vector::QuantisedVector;
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::x86_64::*;

/// Evaluates a block for four steps, one behind the other: which nibbles and bits are theirs is known to the compiler.
macro_rules! four_steps {
    ($first:expr, $step:ident => $body:block) => {
        four_steps!(@ $first, $step, [0, 1, 2, 3], $body)
    };
    (@ $first:expr, $step:ident, [$($n:literal),*], $body:block) => {
        $({
            let $step = $first + $n;
            $body
        })*
    };
}

/// Products of each of `N` inputs, `stride` numbers apart. A register of codes is made once for all of them; what happens to an input
/// does not depend on how many there are. More than four would not stay in registers.
///
/// # Safety
/// AVX-512 F, BW and VNNI must be present, the inputs of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn multiply<F: Format, const N: usize>(
    scales: &[u8],
    codes: &[u8],
    x: [&QuantisedVector; N],
    out: &mut [f32],
    stride: usize,
) {
    let blocks = x[0].len() / K_STEP;
    let tiles = scales.chunks_exact(blocks * K_STEP / F::SUPER * F::SCALE_BYTES);
    for (tile, (scales, codes)) in tiles.zip(codes.chunks_exact(blocks * F::CODE_BYTES)).enumerate() {
        let mut sums = [_mm512_setzero_ps(); N];
        let supers = scales.chunks_exact(F::SCALE_BYTES).zip(codes.chunks_exact(F::SUPER / K_STEP * F::CODE_BYTES));
        for (n, (scales, codes)) in supers.enumerate() {
            for (b, codes) in codes.chunks_exact(F::CODE_BYTES).enumerate() {
                let x = x.map(|x| &x.groups[n * (F::SUPER / K_STEP) + b]);
                for group in 0..K_STEP / F::GROUP {
                    let mut x_sums = [0; N];
                    let mut uppers = [_mm512_setzero_si512(); N];
                    let mut products = [_mm512_setzero_si512(); N];
                    for i in 0..N {
                        x_sums[i] = x[i].sum(group, F::GROUP);
                        products[i] = _mm512_set1_epi32(-F::ZERO * x_sums[i]);
                    }
                    for half in 0..F::GROUP / 16 {
                        four_steps!(group * F::GROUP / 4 + 4 * half, step => {
                            // SAFETY: `codes` are the `CODE_BYTES` of a block, of which there are eight steps.
                            let codes = unsafe { step_codes::<F>(codes.as_ptr(), step) };
                            for i in 0..N {
                                uppers[i] = _mm512_dpbusd_epi32(uppers[i], codes, _mm512_set1_epi32(x[i].high[step]));
                                products[i] = _mm512_dpbusd_epi32(products[i], codes, _mm512_set1_epi32(x[i].low[step]));
                            }
                        });
                    }
                    // SAFETY: the scales are `SCALE_BYTES`.
                    let (scale, minimum) = unsafe { group_scales::<F>(scales, b * K_STEP / F::GROUP + group) };
                    for i in 0..N {
                        let product = _mm512_add_epi32(products[i], _mm512_slli_epi32::<7>(uppers[i]));
                        let scale = _mm512_mul_ps(scale, _mm512_set1_ps(x[i].scale));
                        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scale, sums[i]);
                        if F::MINIMA {
                            let lowered = _mm512_set1_ps(x[i].scale * x_sums[i] as f32);
                            sums[i] = _mm512_fnmadd_ps(minimum, lowered, sums[i]);
                        }
                    }
                }
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            let out = &mut out[i * stride + tile * ROW_TILE..][..ROW_TILE];
            // SAFETY: `out` is of sixteen numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) }
        }
    }
}

/// A tile to bf16, `[cols / 32][16][32]`.
///
/// # Safety
/// AVX-512 F, BW and BF16 must be present.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn decode_tile<F: Format>(scales: &[u8], codes: &[u8], out: &mut [u16]) {
    // A quarter of a step has four columns of four rows: their scales, four times each.
    let rows_of = |quarter: i32| {
        let first = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
        _mm512_add_epi32(first, _mm512_set1_epi32(4 * quarter))
    };
    let rows: [__m512i; 4] = std::array::from_fn(|quarter| rows_of(quarter as i32));
    let supers = scales.chunks_exact(F::SCALE_BYTES).zip(codes.chunks_exact(F::SUPER / K_STEP * F::CODE_BYTES));
    for ((scales, codes), out) in supers.zip(out.chunks_exact_mut(F::SUPER * ROW_TILE)) {
        for (b, (codes, out)) in
            codes.chunks_exact(F::CODE_BYTES).zip(out.chunks_exact_mut(ROW_TILE * K_STEP)).enumerate()
        {
            for group in 0..K_STEP / F::GROUP {
                // SAFETY: the scales are `SCALE_BYTES`.
                let (scale, minimum) = unsafe { group_scales::<F>(scales, b * K_STEP / F::GROUP + group) };
                let spread = |x: __m512| rows.map(|rows| _mm512_permutexvar_ps(rows, x));
                let (scale, minimum) = (spread(scale), spread(minimum));
                for step in group * F::GROUP / 4..(group + 1) * F::GROUP / 4 {
                    // SAFETY: `codes` are the `CODE_BYTES` of a block; there are eight steps.
                    let codes = unsafe { step_codes::<F>(codes.as_ptr(), step) };
                    let quarters = [
                        _mm512_castsi512_si128(codes),
                        _mm512_extracti32x4_epi32::<1>(codes),
                        _mm512_extracti32x4_epi32::<2>(codes),
                        _mm512_extracti32x4_epi32::<3>(codes),
                    ];
                    for (quarter, codes) in quarters.into_iter().enumerate() {
                        let codes = _mm512_sub_epi32(_mm512_cvtepu8_epi32(codes), _mm512_set1_epi32(F::ZERO));
                        let weights = _mm512_mul_ps(scale[quarter], _mm512_cvtepi32_ps(codes));
                        let weights = _mm512_cvtneps_pbh(_mm512_sub_ps(weights, minimum[quarter]));
                        // SAFETY: both are 32 bytes of plain numbers; the four rows of a quarter have 32 columns in `out`, of which
                        // a step is four.
                        unsafe {
                            let weights: __m256i = std::mem::transmute(weights);
                            let to = out.as_mut_ptr().add(4 * quarter * K_STEP + 4 * step);
                            for (half, two) in [_mm256_castsi256_si128(weights), _mm256_extracti128_si256::<1>(weights)]
                                .into_iter()
                                .enumerate()
                            {
                                let to = to.add(2 * half * K_STEP);
                                _mm_storel_epi64(to as *mut __m128i, two);
                                _mm_storeh_pd(to.add(K_STEP) as *mut f64, _mm_castsi128_pd(two));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Scales and minima of sixteen rows for a group of a run of `F::SUPER` columns.
///
/// # Safety
/// `scales` are `F::SCALE_BYTES`, and there is such a group.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn group_scales<F: Format>(scales: &[u8], group: usize) -> (__m512, __m512) {
    // SAFETY: factors take the first bytes, nested scales of all groups lie behind them.
    unsafe {
        let mut scale = half16(scales.as_ptr());
        let mut minimum = if F::MINIMA { half16(scales.as_ptr().add(F::FACTOR_BYTES)) } else { _mm512_setzero_ps() };
        if F::NESTED {
            let at = F::FACTORS_BYTES + group * F::GROUP_BYTES;
            scale = _mm512_mul_ps(scale, bytes16(scales.as_ptr().add(at)));
            if F::MINIMA {
                minimum = _mm512_mul_ps(minimum, bytes16(scales.as_ptr().add(at + ROW_TILE)));
            }
        }
        (scale, minimum)
    }
}

/// # Safety
/// `block` points to `F::CODE_BYTES` bytes; `step` is below 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn step_codes<F: Format>(block: *const u8, step: usize) -> __m512i {
    // SAFETY: the vectors of a block are 64 bytes each, as many as a code has halves of nibbles and bits above.
    unsafe {
        let vector = |n: usize| _mm512_loadu_si512(block.add(64 * n) as *const __m512i);
        if F::BITS == 8 {
            return vector(step);
        }
        let pair = vector(step / 2);
        let nibbles = if step.is_multiple_of(2) { pair } else { _mm512_srli_epi16::<4>(pair) };
        let mut codes = _mm512_and_si512(nibbles, _mm512_set1_epi8(15));
        for plane in 0..F::BITS - 4 {
            let set = _mm512_test_epi8_mask(vector(4 + plane), _mm512_set1_epi8((1u8 << step) as i8));
            codes = _mm512_mask_add_epi8(codes, set, codes, _mm512_set1_epi8(16 << plane));
        }
        codes
    }
}

/// # Safety
/// `at` points to sixteen f16 numbers.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn half16(at: *const u8) -> __m512 {
    // SAFETY: said above.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at as *const __m256i)) }
}

/// # Safety
/// `at` points to sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes16(at: *const u8) -> __m512 {
    // SAFETY: said above.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at as *const __m128i))) }
}
