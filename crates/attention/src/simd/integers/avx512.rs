//! `vpdpwssd`: a pair of features of a row against sixteen tokens an instruction.

use super::{IntegerRows, PanelsOfIntegers};
use crate::simd::LANES;
use std::arch::x86_64::*;

/// # Safety
/// AVX-512 F and VNNI must be present; the caller's assertions bound every address.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn multiply(a: &IntegerRows, b: PanelsOfIntegers, c: &mut [f32], c_stride: usize, accumulate: bool) {
    // Sixteen accumulators cover the latency; four panels share what is loaded best.
    let fours = b.steps.len() / 4 * 4;
    let twos = b.steps.len() / 2 * 2;
    for panel in (0..fours).step_by(4) {
        // SAFETY: there are four panels from here on.
        unsafe { panels::<4, 4>(a, b, panel, c, c_stride, accumulate) }
    }
    for panel in (fours..twos).step_by(2) {
        // SAFETY: there are two panels from here on.
        unsafe { panels::<8, 2>(a, b, panel, c, c_stride, accumulate) }
    }
    if twos < b.steps.len() {
        // SAFETY: there is one panel left.
        unsafe { panels::<8, 1>(a, b, twos, c, c_stride, accumulate) }
    }
}

/// All rows, `MR` at a time, times `P` panels from `panel` on.
///
/// # Safety
/// As [`multiply`]; there are so many panels, and `MR` divides 16.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn panels<const MR: usize, const P: usize>(
    a: &IntegerRows,
    b: PanelsOfIntegers,
    panel: usize,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let pairs = a.k / 2;
    let numbers = b.numbers[panel * pairs..][..P * pairs].as_ptr();
    let b_steps: [&[f32; LANES]; P] = std::array::from_fn(|p| &b.steps[panel + p]);
    for (block, a_steps) in a.steps.chunks_exact(MR).enumerate() {
        let rows = a.numbers[block * MR * a.k..][..MR * a.k].as_ptr();
        let c = c[panel * c_stride + block * MR * LANES..].as_mut_ptr();
        // SAFETY: `rows` are `MR` of `k` numbers, `numbers` `P` panels, and the caller's assertions hold a panel of `c` for each.
        unsafe { run::<MR, P>(rows, pairs, a_steps, numbers, b_steps, c, c_stride, accumulate) }
    }
}

/// # Safety
/// `rows` are `MR` of `pairs` pairs, behind `panels` lie `P` of as many, behind `c` `MR` rows of `P` panels, `c_stride` apart.
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(clippy::too_many_arguments)]
unsafe fn run<const MR: usize, const P: usize>(
    rows: *const i16,
    pairs: usize,
    a_steps: &[f32],
    panels: *const [u32; LANES],
    b_steps: [&[f32; LANES]; P],
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
) {
    // SAFETY: said above.
    unsafe {
        let mut sum = [[_mm512_setzero_si512(); P]; MR];
        for pair in 0..pairs {
            let mut x = [_mm512_setzero_si512(); P];
            for (p, x) in x.iter_mut().enumerate() {
                *x = _mm512_loadu_si512(panels.add(p * pairs + pair) as *const __m512i);
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let w = _mm512_set1_epi32((rows.add(2 * (r * pairs + pair)) as *const i32).read_unaligned());
                for p in 0..P {
                    sum[p] = _mm512_dpwssd_epi32(sum[p], w, x[p]);
                }
            }
        }
        for (p, b_steps) in b_steps.into_iter().enumerate() {
            let b_steps = _mm512_loadu_ps(b_steps.as_ptr());
            for (r, a_step) in a_steps.iter().enumerate().take(MR) {
                let c = c.add(p * c_stride + r * LANES);
                let steps = _mm512_mul_ps(b_steps, _mm512_set1_ps(*a_step));
                let product = _mm512_cvtepi32_ps(sum[r][p]);
                let product = if accumulate {
                    _mm512_fmadd_ps(product, steps, _mm512_loadu_ps(c))
                } else {
                    _mm512_mul_ps(product, steps)
                };
                _mm512_storeu_ps(c, product);
            }
        }
    }
}
