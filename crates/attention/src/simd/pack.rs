//! f32 panels to packed bf16 panels.

use super::{K_STEP, LANES, Simd};
use half::bf16;

/// Elements of a packed panel of `features` features: the inner dimension is padded to a multiple of 32.
///
/// # Panics
/// When they are more than there can be.
pub fn packed_len(features: usize) -> usize {
    let padded = features.checked_next_multiple_of(K_STEP);
    padded.and_then(|padded| padded.checked_mul(LANES)).expect("no memory holds a panel of so many features")
}

/// Rounds a panel `[features][16]` times `scale` to bf16 and packs it as `[features / 2][16][2]`; features past the
/// end, up to the next multiple of 32, become zero.
///
/// # Panics
/// When `panel.len()` is not a multiple of 16 or `out.len() != packed_len(features)`.
pub fn pack(simd: Simd, panel: &[f32], scale: f32, out: &mut [bf16]) {
    assert!(panel.len().is_multiple_of(LANES) && out.len() == packed_len(panel.len() / LANES));
    pack_pairs(simd, panel, scale, bytemuck::cast_slice_mut(out))
}

crate::multiversion! {
    fn pack_pairs(panel: &[f32], scale: f32, out: &mut [[u16; 2]]) {
        let pairs = panel.chunks_exact(2 * LANES);
        let odd = pairs.remainder();
        let mut rows = out.chunks_exact_mut(LANES);
        for (pair, out) in pairs.zip(&mut rows) {
            for lane in 0..LANES {
                let (low, high) = (bf16_bits(pair[lane] * scale), bf16_bits(pair[LANES + lane] * scale));
                out[lane] = [low as u16, high as u16];
            }
        }
        if !odd.is_empty() && let Some(out) = rows.next() {
            for lane in 0..LANES {
                out[lane] = [bf16_bits(odd[lane] * scale) as u16, 0];
            }
        }
        for out in rows {
            out.fill([0; 2]);
        }
    }
}

/// bf16 bits of `x`, to nearest, ties to even. A NaN stays a NaN: its quiet bit is set, so rounding cannot turn the
/// payload into infinity.
#[inline(always)]
pub fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}
