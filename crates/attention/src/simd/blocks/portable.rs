//! Products in plain Rust, and how a code is read.

use super::format::Format;
use super::vector::QuantisedVector;
use crate::simd::{K_STEP, ROW_TILE};

pub(super) fn multiply<F: Format>(scales: &[u8], codes: &[u8], x: &QuantisedVector, out: &mut [f32]) {
    let blocks = x.len() / K_STEP;
    let tiles = scales.chunks_exact(blocks * K_STEP / F::SUPER * F::SCALE_BYTES);
    for ((scales, codes), out) in
        tiles.zip(codes.chunks_exact(blocks * F::CODE_BYTES)).zip(out.chunks_exact_mut(ROW_TILE))
    {
        out.fill(0.0);
        for (block, (codes, x)) in codes.chunks_exact(F::CODE_BYTES).zip(&x.groups).enumerate() {
            for group in 0..K_STEP / F::GROUP {
                let (scale, minimum) = group_scales::<F>(scales, block, group);
                let sum = x.sum(group, F::GROUP);
                let mut product = [-F::ZERO * sum; ROW_TILE];
                for step in group * F::GROUP / 4..(group + 1) * F::GROUP / 4 {
                    let [high, low]: [[i8; 4]; 2] = [x.high[step], x.low[step]].map(bytemuck::cast);
                    let x: [i32; 4] = std::array::from_fn(|i| high[i] as i32 * 128 + low[i] as i32);
                    for (row, product) in product.iter_mut().enumerate() {
                        for (i, x) in x.iter().enumerate() {
                            *product += code::<F>(codes, step, 4 * row + i) as i32 * x;
                        }
                    }
                }
                for row in 0..ROW_TILE {
                    let product = scale[row] * product[row] as f32 - minimum[row] * sum as f32;
                    out[row] += x.scale * product;
                }
            }
        }
    }
}

/// The code of byte `4 * row + i` of a step: column `4 * step + i` of the row.
#[inline(always)]
pub(super) fn code<F: Format>(block: &[u8], step: usize, byte: usize) -> u8 {
    if F::BITS == 8 {
        return block[64 * step + byte];
    }
    let mut code = block[step / 2 * 64 + byte] >> (step % 2 * 4) & 15;
    for plane in 0..F::BITS - 4 {
        code |= (block[256 + 64 * plane + byte] >> step & 1) << (4 + plane);
    }
    code
}

/// Scales and minima of sixteen rows, for a group of the 32 columns of `block`.
#[inline(always)]
pub(super) fn group_scales<F: Format>(scales: &[u8], block: usize, group: usize) -> ([f32; ROW_TILE], [f32; ROW_TILE]) {
    let scales = &scales[block * K_STEP / F::SUPER * F::SCALE_BYTES..][..F::SCALE_BYTES];
    let (factors, nested) = scales.split_at(F::FACTORS_BYTES);
    let group = block * K_STEP % F::SUPER / F::GROUP + group;
    let kind = |kind: usize| {
        let mut of = [0.0; ROW_TILE];
        for (of, factor) in of.iter_mut().zip(factors[kind * F::FACTOR_BYTES..].as_chunks().0) {
            *of = half_to_f32(u16::from_le_bytes(*factor));
        }
        if F::NESTED {
            let nested = &nested[group * F::GROUP_BYTES + kind * ROW_TILE..][..ROW_TILE];
            for (of, nested) in of.iter_mut().zip(nested) {
                *of *= (*nested as i8) as f32;
            }
        }
        of
    };
    (kind(0), if F::MINIMA { kind(1) } else { [0.0; ROW_TILE] })
}

/// As `f16::to_f32`, without branches, so that it vectorises.
#[inline(always)]
pub(super) fn half_to_f32(bits: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let shifted = ((bits & 0x7fff) as u32) << 13;
    let magnitude =
        if bits & 0x7c00 == 0x7c00 { shifted | 0x7f80_0000 } else { (f32::from_bits(shifted) * TWO_TO_112).to_bits() };
    f32::from_bits(magnitude | ((bits & 0x8000) as u32) << 16)
}
