//! `vpmaddubsw`: four columns of eight rows times four bytes of a token, summed in 16 bits as long as they hold them.

use super::{LANES, NUMBERS, PLANE, STEP_CODES, sums_at};
use crate::simd::blocks::{QuantisedPanels, Slab};
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of a register block.
const ROWS: usize = 8;
/// Tokens of a register block.
const TOKENS: usize = 4;

/// # Safety
/// AVX2 and FMA must be present; panels, slab and result are as `super::multiply_integers` asserts.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(
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
            let block = Block {
                codes: a.codes[(tile * a.steps + steps.start) * STEP_CODES + 4 * of_tile..].as_ptr(),
                scales: a.scales[tile * a.tile_numbers() + steps.start * a.step_numbers() + of_tile..].as_ptr(),
                steps: steps.len(),
            };
            let c = &mut c[panel * c_stride + row * LANES..][..ROWS * LANES];
            for token in (0..LANES).step_by(TOKENS) {
                // SAFETY: the slab has `steps` steps of eight rows from here, the panel as many; `c` has eight rows.
                unsafe {
                    let (bytes, numbers, c) = (bytes.add(4 * token), numbers.add(token), c.as_mut_ptr().add(token));
                    match (a.bits, width) {
                        (4, 1) => block.run::<4, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (4, _) => block.run::<4, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (5, 1) => block.run::<5, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (5, _) => block.run::<5, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (6, 1) => block.run::<6, 16, 1>(bytes, numbers, c, accumulate),
                        (6, _) => block.run::<6, 16, 2>(bytes, numbers, c, accumulate),
                        (_, 1) => block.run::<8, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (_, _) => block.run::<8, K_STEP, 2>(bytes, numbers, c, accumulate),
                    }
                }
            }
        }
    }
}

/// Eight rows of a slab.
struct Block {
    codes: *const u8,
    scales: *const f32,
    steps: usize,
}

impl Block {
    /// # Safety
    /// As [`multiply`]: bytes, numbers and results of the first of four tokens.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run<const BITS: usize, const GROUP: usize, const BYTES: usize>(
        &self,
        bytes: *const u8,
        numbers: *const f32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let mut sums = [_mm256_setzero_ps(); TOKENS];
        for step in 0..self.steps {
            for group in 0..K_STEP / GROUP {
                // SAFETY: said above; a step has 512 codes a tile, `BYTES` planes of bytes and four vectors of numbers.
                unsafe {
                    let mut products = [_mm256_setzero_si256(); TOKENS];
                    for plane in 0..BYTES {
                        if plane > 0 {
                            // No closures: those of `core` are compiled without these instructions, and called.
                            for product in &mut products {
                                *product = _mm256_slli_epi32::<7>(*product);
                            }
                        }
                        let fours = group * GROUP / 4..(group + 1) * GROUP / 4;
                        let codes = self.codes.add(step * STEP_CODES);
                        add_products::<BITS>(codes, bytes.add((step * BYTES + plane) * PLANE), fours, &mut products);
                    }
                    let numbers = numbers.add(step * NUMBERS);
                    let of_group = numbers.add(sums_at(GROUP, group));
                    let scales = self.scales.add((step * (K_STEP / GROUP) + group) * 2 * ROW_TILE);
                    let (scale, minimum) = (_mm256_loadu_ps(scales), _mm256_loadu_ps(scales.add(ROW_TILE)));
                    for token in 0..TOKENS {
                        let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*numbers.add(token)));
                        let product = _mm256_cvtepi32_ps(products[token]);
                        sums[token] = _mm256_fmadd_ps(product, scale, sums[token]);
                        if BITS < 8 {
                            let of_group = _mm256_set1_ps(*of_group.add(token));
                            sums[token] = _mm256_fnmadd_ps(minimum, of_group, sums[token]);
                        }
                    }
                }
            }
        }
        // SAFETY: eight rows.
        unsafe { store(sums, c, accumulate) }
    }
}

/// Adds products of the fours of columns `fours`. 8-bit codes are taken less 128, the code of weight 0 of the format that has them.
///
/// # Safety
/// `codes` and `bytes` point to a step, from the first of eight rows and of four tokens on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_products<const BITS: usize>(
    codes: *const u8,
    bytes: *const u8,
    fours: Range<usize>,
    products: &mut [__m256i; TOKENS],
) {
    // A sum of two products of `BITS` bits with -127 to 127 fits 16 bits so many times. 8-bit codes become signed, and their
    // sign goes to the input, of which none is -128.
    let run = if BITS == 8 { 1 } else { 1 << (7 - BITS) };
    for first in fours.clone().step_by(run) {
        let mut pairs = [_mm256_setzero_si256(); TOKENS];
        for four in first..fours.end.min(first + run) {
            // SAFETY: said above.
            unsafe {
                let codes = _mm256_loadu_si256(codes.add(four * 64) as *const __m256i);
                let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                for (token, pairs) in pairs.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(*(bytes.add(four * 64) as *const i32).add(token));
                    let products = if BITS == 8 {
                        _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed))
                    } else {
                        _mm256_maddubs_epi16(codes, x)
                    };
                    *pairs = _mm256_add_epi16(*pairs, products);
                }
            }
        }
        for (product, pairs) in products.iter_mut().zip(pairs) {
            *product = _mm256_add_epi32(*product, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
}

/// Eight rows of four tokens, a row a lane, to rows of `c`.
///
/// # Safety
/// `c` points to the first of four tokens of eight rows.
#[target_feature(enable = "avx2")]
unsafe fn store(sums: [__m256; TOKENS], c: *mut f32, accumulate: bool) {
    let low = _mm256_castps_pd(_mm256_unpacklo_ps(sums[0], sums[1]));
    let high = _mm256_castps_pd(_mm256_unpackhi_ps(sums[0], sums[1]));
    let other_low = _mm256_castps_pd(_mm256_unpacklo_ps(sums[2], sums[3]));
    let other_high = _mm256_castps_pd(_mm256_unpackhi_ps(sums[2], sums[3]));
    // Lane `n` of vector `r` has row `4 n + r`.
    let rows = [
        _mm256_unpacklo_pd(low, other_low),
        _mm256_unpackhi_pd(low, other_low),
        _mm256_unpacklo_pd(high, other_high),
        _mm256_unpackhi_pd(high, other_high),
    ];
    for (r, rows) in rows.into_iter().enumerate() {
        let rows = _mm256_castpd_ps(rows);
        for (n, row) in [_mm256_castps256_ps128(rows), _mm256_extractf128_ps::<1>(rows)].into_iter().enumerate() {
            // SAFETY: four numbers of row `4 n + r`.
            unsafe {
                let c = c.add((4 * n + r) * LANES);
                _mm_storeu_ps(c, if accumulate { _mm_add_ps(_mm_loadu_ps(c), row) } else { row });
            }
        }
    }
}
