//! Stored number formats, row by row to f32. Block layouts are GGML's.

use half::{bf16, f16};

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Encoding {
    F32,
    F16,
    BF16,
    /// 32 elements: scale, 4-bit values around 8.
    Q4_0,
    /// 32 elements: scale, minimum, 4-bit values.
    Q4_1,
    /// 32 elements: scale, 5-bit values around 16.
    Q5_0,
    /// 32 elements: scale, minimum, 5-bit values.
    Q5_1,
    /// 32 elements: scale, 8-bit values.
    Q8_0,
    /// 256 elements in 8 groups: 6-bit scales and minima, 4-bit values.
    Q4_K,
    /// 256 elements in 8 groups: 6-bit scales and minima, 5-bit values.
    Q5_K,
    /// 256 elements in 16 groups: 8-bit scales, 6-bit values around 32.
    Q6_K,
}

use Encoding::*;

impl Encoding {
    /// The encoding of a GGML type number.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Some(match id {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            12 => Q4_K,
            13 => Q5_K,
            14 => Q6_K,
            30 => BF16,
            _ => return None,
        })
    }

    /// Elements and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            F32 => (1, 4),
            F16 | BF16 => (1, 2),
            Q4_0 => (32, 2 + 16),
            Q4_1 => (32, 4 + 16),
            Q5_0 => (32, 2 + 4 + 16),
            Q5_1 => (32, 4 + 4 + 16),
            Q8_0 => (32, 2 + 32),
            Q4_K => (256, 4 + 12 + 128),
            Q5_K => (256, 4 + 12 + 32 + 128),
            Q6_K => (256, 128 + 64 + 16 + 2),
        }
    }

    /// Bytes of a row, or `None` when it is not a whole number of blocks or too long to count.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (elements, bytes) = self.block();
        if cols.is_multiple_of(elements) { (cols / elements).checked_mul(bytes) } else { None }
    }

    /// Decodes whole blocks.
    ///
    /// # Panics
    /// When `bytes` and `out` are not the same whole number of blocks.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let (elements, size) = self.block();
        assert!(out.len().is_multiple_of(elements) && bytes.len() == out.len() / elements * size);
        let blocks = bytes.chunks_exact(size).zip(out.chunks_exact_mut(elements));
        match self {
            F32 => blocks.for_each(|(b, out)| out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            F16 => blocks.for_each(|(b, out)| out[0] = half_at(b, 0)),
            BF16 => blocks.for_each(|(b, out)| out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Q4_0 => blocks.for_each(|(b, out)| nibbles(&b[2..], None, half_at(b, 0), -8.0 * half_at(b, 0), out)),
            Q4_1 => blocks.for_each(|(b, out)| nibbles(&b[4..], None, half_at(b, 0), half_at(b, 2), out)),
            Q5_0 => blocks
                .for_each(|(b, out)| nibbles(&b[6..], Some(u32_at(b, 2)), half_at(b, 0), -16.0 * half_at(b, 0), out)),
            Q5_1 => blocks.for_each(|(b, out)| nibbles(&b[8..], Some(u32_at(b, 4)), half_at(b, 0), half_at(b, 2), out)),
            Q8_0 => blocks.for_each(|(b, out)| {
                let scale = half_at(b, 0);
                out.iter_mut().zip(&b[2..]).for_each(|(out, q)| *out = scale * (*q as i8) as f32);
            }),
            Q4_K => blocks.for_each(|(b, out)| k_groups(b, None, &b[16..], out)),
            Q5_K => blocks.for_each(|(b, out)| k_groups(b, Some(&b[16..48]), &b[48..], out)),
            Q6_K => blocks.for_each(|(b, out)| q6_k(b, out)),
        }
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    half_bits(bytes, at).to_f32()
}

pub(super) fn half_bits(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// 32 values: the low nibbles of 16 bytes, then the high ones; `fifth` holds one more bit for each.
fn nibbles(packed: &[u8], fifth: Option<u32>, scale: f32, offset: f32, out: &mut [f32]) {
    let fifth = fifth.unwrap_or(0);
    for i in 0..16 {
        let low = (packed[i] & 15) as u32 | (fifth >> i & 1) << 4;
        let high = (packed[i] >> 4) as u32 | (fifth >> (i + 16) & 1) << 4;
        out[i] = low as f32 * scale + offset;
        out[i + 16] = high as f32 * scale + offset;
    }
}

/// Scale and minimum of one of eight groups, six bits each, spread over twelve bytes.
pub(super) fn k_scale(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let shared = packed[group + 4];
        ((shared & 15) | (packed[group - 4] >> 6) << 4, (shared >> 4) | (packed[group] >> 6) << 4)
    }
}

/// Q4_K and Q5_K: pairs of groups share 32 bytes, one in the low nibbles and one in the high; `fifth` has one bit plane a
/// group.
fn k_groups(block: &[u8], fifth: Option<&[u8]>, packed: &[u8], out: &mut [f32]) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = k_scale(&block[4..16], group);
        let (scale, min) = (d * scale as f32, d_min * min as f32);
        for (i, out) in out.iter_mut().enumerate() {
            let nibble = packed[group / 2 * 32 + i] >> (4 * (group % 2)) & 15;
            let high = fifth.map_or(0, |bits| (bits[i] >> group & 1) << 4);
            *out = scale * (nibble | high) as f32 - min;
        }
    }
}

/// Q6_K: two halves of 128 elements; in each, 64 bytes of low nibbles and 32 bytes of four bit pairs.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for half in 0..2 {
        for quarter in 0..4 {
            for i in 0..32 {
                let nibble = low[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                let pair = high[half * 32 + i] >> (quarter * 2) & 3;
                let q = (nibble | pair << 4) as i32 - 32;
                let scale = scales[half * 8 + quarter * 2 + i / 16] as i8;
                out[half * 128 + quarter * 32 + i] = d * scale as f32 * q as f32;
            }
        }
    }
}
