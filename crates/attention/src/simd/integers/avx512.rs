//! `vpdpwssd`: a pair of features of a row against sixteen tokens an instruction.

use super::{IntegerRows, PanelsOfIntegers};
use crate::simd::LANES;
use std::arch::x86_64::*;

/// Rows of a register block: 8 rows x 2 panels are sixteen accumulators, enough to cover the latency.
const MR: usize = 8;

/// # Safety
/// AVX-512 F and VNNI must be present; the caller's assertions bound every address.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn multiply(a: &IntegerRows, b: PanelsOfIntegers, c: &mut [f32], c_stride: usize, accumulate: bool) {
    let pairs = a.k / 2;
    for (block, a_steps) in a.steps.chunks_exact(MR).enumerate() {
        let rows = a.numbers[block * MR * a.k..][..MR * a.k].as_ptr();
        for (at, b_steps) in b.steps.chunks(2).enumerate() {
            let panels = b.numbers[2 * at * pairs..].as_ptr();
            let c = c[2 * at * c_stride + block * MR * LANES..].as_mut_ptr();
            // SAFETY: `rows` are eight of `k` numbers, behind `panels` lie as many panels as there are steps, and the caller's
            // assertions hold a panel of `c` for each.
            unsafe {
                match b_steps {
                    [one, two] => run::<2>(rows, pairs, a_steps, panels, [one, two], c, c_stride, accumulate),
                    [one] => run::<1>(rows, pairs, a_steps, panels, [one], c, c_stride, accumulate),
                    _ => unreachable!("chunks of two"),
                }
            }
        }
    }
}

/// # Safety
/// `rows` are eight of `pairs` pairs, behind `panels` lie `P` of as many, behind `c` eight rows of `P` panels, `c_stride` apart.
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(clippy::too_many_arguments)]
unsafe fn run<const P: usize>(
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
