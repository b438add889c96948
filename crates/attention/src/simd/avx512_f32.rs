//! [`multiply`](super::multiply) with f32 multiply-adds on AVX-512: both operands widened, rows once for all panels.

use super::{K_STEP, LANES, ROW_TILE, Rows};
use half::bf16;
use std::arch::x86_64::*;

/// Rows of a register block: 8 rows x 2 panels are sixteen accumulators, and leave room for two features of both panels.
const MR: usize = 8;
/// Features of a block of widened rows, a multiple of [`K_STEP`]: 8 KiB, a part of the first-level cache.
const DEPTH: usize = 256;

#[repr(align(64))]
struct Widened([f32; MR * DEPTH]);

/// # Safety
/// AVX-512 F must be present; `Rows` and the caller's assertions bound every address.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    let mut rows = Widened([0.0; MR * DEPTH]);
    for row in (0..a.rows).step_by(MR) {
        let base = (row / ROW_TILE) * a.tile_stride + (row % ROW_TILE) * a.row_stride;
        for first in (0..a.k).step_by(DEPTH) {
            let depth = DEPTH.min(a.k - first);
            let accumulate = accumulate || first > 0;
            // SAFETY: `Rows::new` bounds `base` plus all steps of the block's last row.
            unsafe { widen(a, base + first / K_STEP * a.step_stride, depth, &mut rows) };
            for panel in (0..panels).step_by(2) {
                let b = b[panel * a.k * LANES + first * LANES..].as_ptr();
                let c = c[panel * c_stride + row * LANES..].as_mut_ptr();
                // SAFETY: the caller's assertions hold `a.rows * LANES` floats behind each panel of `c` and `a.k * LANES`
                // elements behind each panel of `b`.
                unsafe {
                    if panel + 1 < panels {
                        block::<2>(&rows, depth, b, a.k * LANES, c, c_stride, accumulate)
                    } else {
                        block::<1>(&rows, depth, b, a.k * LANES, c, c_stride, accumulate)
                    }
                }
            }
        }
    }
}

/// # Safety
/// From `base` on, `a` holds eight rows of `depth` features, at most [`DEPTH`].
#[target_feature(enable = "avx512f")]
unsafe fn widen(a: Rows, base: usize, depth: usize, out: &mut Widened) {
    for (r, out) in out.0.chunks_exact_mut(DEPTH).enumerate() {
        for (n, out) in out[..depth].chunks_exact_mut(LANES).enumerate() {
            let (step, half) = (n / 2, n % 2);
            // SAFETY: said above; `out` is of sixteen numbers.
            unsafe {
                let from = a.data.as_ptr().add(base + r * a.row_stride + step * a.step_stride + half * LANES);
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from as *const __m256i));
                _mm512_storeu_si512(out.as_mut_ptr() as *mut __m512i, _mm512_slli_epi32::<16>(bits));
            }
        }
    }
}

/// # Safety
/// Behind `b` lie `P` panels of `depth` features, `b_stride` apart, behind `c` eight rows of as many panels, `c_stride` apart.
#[target_feature(enable = "avx512f")]
unsafe fn block<const P: usize>(
    rows: &Widened,
    depth: usize,
    b: *const bf16,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
) {
    // SAFETY: said above; `rows` holds eight rows of `DEPTH`.
    unsafe {
        let mut sum = [[_mm512_setzero_ps(); P]; MR];
        if accumulate {
            for (r, sum) in sum.iter_mut().enumerate() {
                for (p, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(c.add(p * c_stride + r * LANES));
                }
            }
        }
        let high = _mm512_set1_epi32(0xffff_0000u32 as i32);
        for k in (0..depth).step_by(2) {
            let mut pairs = [_mm512_setzero_si512(); P];
            for (p, pairs) in pairs.iter_mut().enumerate() {
                *pairs = _mm512_loadu_si512(b.add(p * b_stride + k * LANES) as *const __m512i);
            }
            let mut even = [_mm512_setzero_ps(); P];
            let mut odd = even;
            for ((even, odd), &pairs) in even.iter_mut().zip(&mut odd).zip(&pairs) {
                *even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
                *odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, high));
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                for (of_pair, x) in [even, odd].iter().enumerate() {
                    let w = _mm512_set1_ps(*rows.0.as_ptr().add(r * DEPTH + k + of_pair));
                    for p in 0..P {
                        sum[p] = _mm512_fmadd_ps(w, x[p], sum[p]);
                    }
                }
            }
        }
        for (r, sum) in sum.iter().enumerate() {
            for (p, sum) in sum.iter().enumerate() {
                _mm512_storeu_ps(c.add(p * c_stride + r * LANES), *sum);
            }
        }
    }
}

/// All rows of a tile take a step together, so that packed weights stream from memory in the order they lie. Even and odd features are
/// summed apart: both operands hold them in the same halves of words.
///
/// # Safety
/// AVX-512 F must be present; `x` holds `a.k` elements, `out` `a.rows`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply_vector(a: Rows, x: &[bf16], out: &mut [f32]) {
    let high = _mm512_set1_epi32(0xffff_0000u32 as i32);
    for (tile, out) in out[..a.rows].chunks_exact_mut(ROW_TILE).enumerate() {
        let mut sums = [_mm512_setzero_ps(); ROW_TILE];
        for step in 0..a.k / K_STEP {
            // SAFETY: `Rows::new` bounds every row of the step, the caller's assertion the step of `x`.
            unsafe {
                let w = a.data.as_ptr().add(tile * a.tile_stride + step * a.step_stride);
                let x = _mm512_loadu_si512(x.as_ptr().add(step * K_STEP) as *const __m512i);
                let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x));
                let odd = _mm512_castsi512_ps(_mm512_and_si512(x, high));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let w = _mm512_loadu_si512(w.add(row * a.row_stride) as *const __m512i);
                    *sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(w)), even, *sum);
                    *sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(w, high)), odd, *sum);
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_ps(sum);
        }
    }
}
