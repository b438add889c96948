//! Products with `vdpbf16ps`: one bf16 pair of a row against sixteen tokens an instruction, or sixteen pairs of a row
//! against one token.

use super::{K_STEP, LANES, ROW_TILE, Rows};
use half::bf16;
use std::arch::x86_64::*;
use std::time::Instant;

/// Rows of a register block: 8 rows x 2 panels are sixteen accumulators, enough to cover the latency twice over.
const MR: usize = 8;

/// # Safety
/// AVX-512 F and BF16 must be present; `Rows` and the caller's assertions bound every address.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    for row in (0..a.rows).step_by(MR) {
        let base = (row / ROW_TILE) * a.tile_stride + (row % ROW_TILE) * a.row_stride;
        for panel in (0..panels).step_by(2) {
            let b = b[panel * a.k * LANES..].as_ptr();
            let c = c[panel * c_stride + row * LANES..].as_mut_ptr();
            // SAFETY: the caller's assertions hold `a.rows * LANES` floats behind each panel of `c` and `a.k * LANES`
            // elements behind each panel of `b`; `Rows::new` bounds `base` plus the block.
            unsafe {
                let a_block =
                    Block { a: a.data.as_ptr().add(base), row_stride: a.row_stride, step_stride: a.step_stride };
                if panel + 1 < panels {
                    a_block.run::<2>(a.k, b, c, c_stride, accumulate)
                } else {
                    a_block.run::<1>(a.k, b, c, c_stride, accumulate)
                }
            }
        }
    }
}

struct Block {
    a: *const bf16,
    row_stride: usize,
    step_stride: usize,
}

impl Block {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn run<const P: usize>(&self, k: usize, b: *const bf16, c: *mut f32, c_stride: usize, accumulate: bool) {
        // SAFETY: see `multiply`.
        unsafe {
            let mut sum = [[_mm512_setzero_ps(); P]; MR];
            if accumulate {
                for (r, sum) in sum.iter_mut().enumerate() {
                    for (p, sum) in sum.iter_mut().enumerate() {
                        *sum = _mm512_loadu_ps(c.add(p * c_stride + r * LANES));
                    }
                }
            }
            for step in 0..k / K_STEP {
                let a = self.a.add(step * self.step_stride);
                for pair in 0..K_STEP / 2 {
                    let offset = (step * K_STEP + 2 * pair) * LANES;
                    let mut x = [_mm512_setzero_si512(); P];
                    for (p, x) in x.iter_mut().enumerate() {
                        *x = _mm512_loadu_si512(b.add(p * k * LANES + offset) as *const __m512i);
                    }
                    for (r, sum) in sum.iter_mut().enumerate() {
                        let w =
                            _mm512_set1_epi32((a.add(r * self.row_stride + 2 * pair) as *const i32).read_unaligned());
                        for p in 0..P {
                            sum[p] = _mm512_dpbf16_ps(sum[p], bf16x32(w), bf16x32(x[p]));
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
}

/// All rows of a tile take a step together, so that packed weights stream from memory in the order they lie.
///
/// # Safety
/// As [`multiply`]; `x` holds `a.k` elements, `out` `a.rows`.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply_vector(a: Rows, x: &[bf16], out: &mut [f32]) {
    for (tile, out) in out[..a.rows].chunks_exact_mut(ROW_TILE).enumerate() {
        let mut sums = [_mm512_setzero_ps(); ROW_TILE];
        for step in 0..a.k / K_STEP {
            // SAFETY: `Rows::new` bounds every row of the step, the caller's assertion the step of `x`.
            unsafe {
                let w = a.data.as_ptr().add(tile * a.tile_stride + step * a.step_stride);
                let x = _mm512_loadu_si512(x.as_ptr().add(step * K_STEP) as *const __m512i);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let w = _mm512_loadu_si512(w.add(row * a.row_stride) as *const __m512i);
                    *sum = _mm512_dpbf16_ps(*sum, bf16x32(w), bf16x32(x));
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_ps(sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16x32(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of plain bits.
    unsafe { std::mem::transmute(x) }
}

/// Whether integers multiply clearly faster than bf16: the least of a few times of each instruction.
///
/// # Safety
/// AVX-512 F, VNNI and BF16 must be present.
#[target_feature(enable = "avx512f,avx512bf16,avx512vnni")]
pub(super) unsafe fn integers_are_faster() -> bool {
    /// Processors either take as long for both, or several times as long for bf16.
    const CLEARLY: f64 = 1.7;
    const RUNS: usize = 16;
    const TIMES: usize = 500;
    let one = std::hint::black_box(_mm512_set1_epi32(0x1_0001));
    let least = |run: &dyn Fn()| {
        let time = |_| {
            let started = Instant::now();
            run();
            started.elapsed()
        };
        (0..RUNS).map(time).min().unwrap_or_default().as_secs_f64()
    };
    let in_bf16 = least(&|| chains_of_bf16(one, TIMES));
    let in_integers = least(&|| chains_of_integers(one, TIMES));
    in_bf16 >= CLEARLY * in_integers
}

/// Sixteen sums that do not wait for each other.
#[target_feature(enable = "avx512f,avx512bf16")]
fn chains_of_bf16(x: __m512i, times: usize) {
    let mut sums = [_mm512_setzero_ps(); 16];
    for _ in 0..times {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, bf16x32(x), bf16x32(x));
        }
    }
    std::hint::black_box(sums);
}

/// Likewise.
#[target_feature(enable = "avx512f,avx512vnni")]
fn chains_of_integers(x: __m512i, times: usize) {
    let mut sums = [_mm512_setzero_si512(); 16];
    for _ in 0..times {
        for sum in &mut sums {
            *sum = _mm512_dpwssd_epi32(*sum, x, x);
        }
    }
    std::hint::black_box(sums);
}
