//! Codes to numbers.

use super::format::{BlockFormat, Format, with_format};
use super::portable::{code, group_scales};
use crate::simd::{K_STEP, ROW_TILE, bf16_bits};

crate::multiversion! {
    pub(super) fn tile(format: BlockFormat, scales: &[u8], codes: &[u8], out: &mut [u16]) {
        with_format!(format, F => decode_tile::<F>(scales, codes, out))
    }
}

#[inline(always)]
fn decode_tile<F: Format>(scales: &[u8], codes: &[u8], out: &mut [u16]) {
    for (block, (codes, out)) in
        codes.chunks_exact(F::CODE_BYTES).zip(out.chunks_exact_mut(ROW_TILE * K_STEP)).enumerate()
    {
        let steps = steps::<F>(codes);
        let groups: [_; 2] = std::array::from_fn(|group| group_scales::<F>(scales, block, group * 16 / F::GROUP));
        for (row, out) in out.chunks_exact_mut(K_STEP).enumerate() {
            let mut codes = [0u8; K_STEP];
            for (step, codes) in codes.chunks_exact_mut(4).enumerate() {
                codes.copy_from_slice(&steps[step][4 * row..][..4]);
            }
            for (half, (scales, minima)) in groups.iter().enumerate() {
                let (scale, minimum) = (scales[row], minima[row]);
                for i in half * 16..(half + 1) * 16 {
                    out[i] = bf16_bits(scale * (codes[i] as i32 - F::ZERO) as f32 - minimum) as u16;
                }
            }
        }
    }
}

/// The codes of a block by steps of four columns: plain loops over bytes, which compilers turn into a few instructions each.
#[inline(always)]
pub(super) fn steps<F: Format>(codes: &[u8]) -> [[u8; 64]; K_STEP / 4] {
    let vector = |n: usize| -> &[u8; 64] { codes[64 * n..][..64].try_into().expect("64 bytes") };
    if F::BITS == 8 {
        return std::array::from_fn(|step| *vector(step));
    }
    let mut steps = [[0u8; 64]; K_STEP / 4];
    for (n, pair) in steps.chunks_exact_mut(2).enumerate() {
        let (packed, [low, high]) = (vector(n), pair) else { unreachable!("chunks of two") };
        for byte in 0..64 {
            low[byte] = packed[byte] & 15;
            high[byte] = packed[byte] >> 4;
        }
    }
    for plane in 0..F::BITS - 4 {
        let bits = vector(4 + plane);
        for (step, codes) in steps.iter_mut().enumerate() {
            for byte in 0..64 {
                codes[byte] |= if bits[byte] & (1 << step) != 0 { 16 << plane } else { 0 };
            }
        }
    }
    steps
}

pub(super) fn row<F: Format>(scales: &[u8], codes: &[u8], row: usize, out: &mut [f32]) {
    for (block, (codes, out)) in codes.chunks_exact(F::CODE_BYTES).zip(out.chunks_exact_mut(K_STEP)).enumerate() {
        for (group, out) in out.chunks_exact_mut(F::GROUP).enumerate() {
            let (scale, minimum) = group_scales::<F>(scales, block, group);
            for (i, out) in out.iter_mut().enumerate() {
                let column = group * F::GROUP + i;
                let code = code::<F>(codes, column / 4, 4 * row + column % 4);
                *out = scale[row] * (code as i32 - F::ZERO) as f32 - minimum[row];
            }
        }
    }
}
