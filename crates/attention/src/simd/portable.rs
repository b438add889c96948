//! [`multiply`](super::multiply) in plain Rust.

use super::{K_STEP, LANES, ROW_TILE, Rows};
use half::bf16;

pub(super) fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    for panel in 0..panels {
        let b = &b[panel * a.k * LANES..][..a.k * LANES];
        for row in 0..a.rows {
            let base = (row / ROW_TILE) * a.tile_stride + (row % ROW_TILE) * a.row_stride;
            let c = &mut c[panel * c_stride + row * LANES..][..LANES];
            let mut sum = [0f32; LANES];
            if accumulate {
                sum.copy_from_slice(c);
            }
            for step in 0..a.k / K_STEP {
                let w = &a.data[base + step * a.step_stride..][..K_STEP];
                let b = &b[step * K_STEP * LANES..][..K_STEP * LANES];
                for (w, b) in w.chunks_exact(2).zip(b.chunks_exact(2 * LANES)) {
                    let (w0, w1) = (widen(w[0]), widen(w[1]));
                    for lane in 0..LANES {
                        sum[lane] += w0 * widen(b[2 * lane]) + w1 * widen(b[2 * lane + 1]);
                    }
                }
            }
            c.copy_from_slice(&sum);
        }
    }
}

/// bf16 is the upper half of an f32; unlike `to_f32` this needs no case for NaN, so it vectorises.
#[inline(always)]
fn widen(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}
