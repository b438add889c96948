//! `vpdpbusd`: four columns of sixteen rows times four bytes of a token, which come from memory as one operand.
//!
//! Sums have a row a lane, since codes are the unsigned factor, which must stand in a register; they are turned to a token a lane once a run.

use super::{LANES, NUMBERS, PLANE, STEP_CODES, sums_at};
use crate::simd::blocks::{QuantisedPanels, Slab};
use crate::simd::{K_STEP, ROW_TILE};
use std::arch::x86_64::*;
use std::ops::Range;

/// Tokens of a register block: with two tiles eight sums in integers and eight in f32.
const TOKENS: usize = 4;

/// # Safety
/// AVX-512 F, BW and VNNI must be present; panels, slab and result are as `super::multiply_integers` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
        for tile in (0..a.tiles).step_by(2) {
            let block = Block {
                codes: a.codes[(tile * a.steps + steps.start) * STEP_CODES..].as_ptr(),
                tile_codes: a.steps * STEP_CODES,
                scales: a.scales[tile * a.tile_numbers() + steps.start * a.step_numbers()..].as_ptr(),
                tile_scales: a.tile_numbers(),
                steps: steps.len(),
            };
            let tiles = 2.min(a.tiles - tile);
            let c = &mut c[panel * c_stride + tile * ROW_TILE * LANES..][..tiles * ROW_TILE * LANES];
            for token in (0..LANES).step_by(TOKENS) {
                // SAFETY: the slab has `steps` steps of `tiles` tiles from here, the panel as many; `c` has sixteen rows a tile.
                unsafe {
                    let (bytes, numbers, c) = (bytes.add(4 * token), numbers.add(token), c.as_mut_ptr().add(token));
                    match (tiles, a.group, width) {
                        (2, K_STEP, 1) => block.run::<2, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (2, K_STEP, _) => block.run::<2, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (2, _, 1) => block.run::<2, 16, 1>(bytes, numbers, c, accumulate),
                        (2, _, _) => block.run::<2, 16, 2>(bytes, numbers, c, accumulate),
                        (_, K_STEP, 1) => block.run::<1, K_STEP, 1>(bytes, numbers, c, accumulate),
                        (_, K_STEP, _) => block.run::<1, K_STEP, 2>(bytes, numbers, c, accumulate),
                        (_, _, 1) => block.run::<1, 16, 1>(bytes, numbers, c, accumulate),
                        (_, _, _) => block.run::<1, 16, 2>(bytes, numbers, c, accumulate),
                    }
                }
            }
        }
    }
}

/// Two tiles of a slab, or one.
struct Block {
    codes: *const u8,
    tile_codes: usize,
    scales: *const f32,
    tile_scales: usize,
    steps: usize,
}

impl Block {
    /// # Safety
    /// As [`multiply`]: `R` tiles of `steps` steps; bytes, numbers and results of the first of four tokens.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn run<const R: usize, const GROUP: usize, const BYTES: usize>(
        &self,
        bytes: *const u8,
        numbers: *const f32,
        c: *mut f32,
        accumulate: bool,
    ) {
        let mut sums = [[_mm512_setzero_ps(); TOKENS]; R];
        for step in 0..self.steps {
            for group in 0..K_STEP / GROUP {
                // SAFETY: said above; a step has 512 codes a tile, `BYTES` planes of bytes and four vectors of numbers.
                unsafe {
                    let mut products = [[_mm512_setzero_si512(); TOKENS]; R];
                    for plane in 0..BYTES {
                        if plane > 0 {
                            for product in products.as_flattened_mut() {
                                *product = _mm512_slli_epi32::<7>(*product);
                            }
                        }
                        for four in group * GROUP / 4..(group + 1) * GROUP / 4 {
                            let codes = self.codes.add(step * STEP_CODES + four * 64);
                            let x = bytes.add((step * BYTES + plane) * PLANE + four * 64) as *const i32;
                            // Loops and no closures: those of `core` are compiled without these instructions, and called.
                            for token in 0..TOKENS {
                                let x = _mm512_set1_epi32(*x.add(token));
                                for (r, products) in products.iter_mut().enumerate() {
                                    let codes = _mm512_load_si512(codes.add(r * self.tile_codes) as *const __m512i);
                                    products[token] = _mm512_dpbusd_epi32(products[token], codes, x);
                                }
                            }
                        }
                    }
                    let numbers = numbers.add(step * NUMBERS);
                    let of_group = numbers.add(sums_at(GROUP, group));
                    for r in 0..R {
                        let at = r * self.tile_scales + (step * (K_STEP / GROUP) + group) * 2 * ROW_TILE;
                        let scale = _mm512_load_ps(self.scales.add(at));
                        let minimum = _mm512_load_ps(self.scales.add(at + ROW_TILE));
                        for token in 0..TOKENS {
                            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*numbers.add(token)));
                            let product = _mm512_cvtepi32_ps(products[r][token]);
                            let sum = _mm512_fmadd_ps(product, scale, sums[r][token]);
                            sums[r][token] = _mm512_fnmadd_ps(minimum, _mm512_set1_ps(*of_group.add(token)), sum);
                        }
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: sixteen rows a tile.
            unsafe { store(sums, c.add(r * ROW_TILE * LANES), accumulate) }
        }
    }
}

/// Sixteen rows of four tokens, a row a lane, to rows of `c`.
///
/// # Safety
/// `c` points to the first of four tokens of sixteen rows.
#[target_feature(enable = "avx512f")]
unsafe fn store(sums: [__m512; TOKENS], c: *mut f32, accumulate: bool) {
    let low = _mm512_castps_pd(_mm512_unpacklo_ps(sums[0], sums[1]));
    let high = _mm512_castps_pd(_mm512_unpackhi_ps(sums[0], sums[1]));
    let other_low = _mm512_castps_pd(_mm512_unpacklo_ps(sums[2], sums[3]));
    let other_high = _mm512_castps_pd(_mm512_unpackhi_ps(sums[2], sums[3]));
    // Lane `n` of vector `r` has row `4 n + r`.
    let rows = [
        _mm512_unpacklo_pd(low, other_low),
        _mm512_unpackhi_pd(low, other_low),
        _mm512_unpacklo_pd(high, other_high),
        _mm512_unpackhi_pd(high, other_high),
    ];
    for (r, rows) in rows.into_iter().enumerate() {
        let rows = _mm512_castpd_ps(rows);
        let quarters = [
            _mm512_castps512_ps128(rows),
            _mm512_extractf32x4_ps::<1>(rows),
            _mm512_extractf32x4_ps::<2>(rows),
            _mm512_extractf32x4_ps::<3>(rows),
        ];
        for (n, row) in quarters.into_iter().enumerate() {
            // SAFETY: four numbers of row `4 n + r`.
            unsafe {
                let c = c.add((4 * n + r) * LANES);
                _mm_storeu_ps(c, if accumulate { _mm_add_ps(_mm_loadu_ps(c), row) } else { row });
            }
        }
    }
}
