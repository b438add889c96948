//! Stored blocks to codes, scales and minima, for products that multiply codes.

use super::encoding::{Encoding, half_bits, k_scale, u32_at};
use Encoding::*;
use attention::simd::blocks::{BlockFormat, BlockRow};
use half::f16;

impl Encoding {
    /// The format that holds this encoding without loss, if it is one of quantised blocks.
    pub(crate) fn block_format(self) -> Option<BlockFormat> {
        Some(match self {
            F32 | F16 | BF16 => return None,
            Q4_0 => BlockFormat::Q4_0,
            Q4_1 => BlockFormat::Q4_1,
            Q5_0 => BlockFormat::Q5_0,
            Q5_1 => BlockFormat::Q5_1,
            Q8_0 => BlockFormat::Q8_0,
            Q4_K => BlockFormat::Q4_K,
            Q5_K => BlockFormat::Q5_K,
            Q6_K => BlockFormat::Q6_K,
        })
    }

    /// Takes a row apart.
    ///
    /// # Panics
    /// When the encoding has no [`block_format`](Self::block_format), or `bytes` and `out` are not of the same length.
    pub(crate) fn unpack(self, bytes: &[u8], out: &mut BlockRow) {
        let (elements, size) = self.block();
        assert!(self.block_format().is_some() && bytes.len() == out.codes.len() / elements * size);
        let blocks = bytes.chunks_exact(size).zip(out.codes.chunks_exact_mut(elements)).zip(&mut out.factors);
        for (n, ((b, codes), factors)) in blocks.enumerate() {
            *factors = [half_bits(b, 0), f16::ZERO];
            match self {
                F32 | F16 | BF16 => unreachable!("refused above"),
                Q4_0 => nibbles(&b[2..], 0, codes),
                Q5_0 => nibbles(&b[6..], u32_at(b, 2), codes),
                Q8_0 => codes.iter_mut().zip(&b[2..]).for_each(|(code, byte)| *code = byte ^ 0x80),
                // What these files call the minimum is added.
                Q4_1 | Q5_1 => {
                    factors[1] = -half_bits(b, 2);
                    let (fifth, packed) = if self == Q5_1 { (u32_at(b, 4), &b[8..]) } else { (0, &b[4..]) };
                    nibbles(packed, fifth, codes);
                }
                Q4_K | Q5_K => {
                    factors[1] = half_bits(b, 2);
                    let (fifth, packed) = if self == Q5_K { (Some(&b[16..48]), &b[48..]) } else { (None, &b[16..]) };
                    for (group, codes) in codes.chunks_exact_mut(32).enumerate() {
                        let (scale, minimum) = k_scale(&b[4..16], group);
                        out.nested[n * 8 + group] = [scale as i8, minimum as i8];
                        for (i, code) in codes.iter_mut().enumerate() {
                            let nibble = packed[group / 2 * 32 + i] >> (4 * (group % 2)) & 15;
                            *code = nibble | fifth.map_or(0, |bits| (bits[i] >> group & 1) << 4);
                        }
                    }
                }
                Q6_K => {
                    *factors = [half_bits(b, 208), f16::ZERO];
                    for (group, scale) in b[192..208].iter().enumerate() {
                        out.nested[n * 16 + group] = [*scale as i8, 0];
                    }
                    for (i, code) in codes.iter_mut().enumerate() {
                        let (half, quarter, i) = (i / 128, i / 32 % 4, i % 32);
                        let nibble = b[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                        *code = nibble | (b[128 + half * 32 + i] >> (quarter * 2) & 3) << 4;
                    }
                }
            }
        }
    }
}

/// 32 codes: the low nibbles of 16 bytes, then the high ones; `fifth` holds one more bit for each.
fn nibbles(packed: &[u8], fifth: u32, codes: &mut [u8]) {
    for i in 0..16 {
        codes[i] = packed[i] & 15 | ((fifth >> i & 1) << 4) as u8;
        codes[i + 16] = packed[i] >> 4 | ((fifth >> (i + 16) & 1) << 4) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::simd::blocks::Blocks;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the bytes. Infinite scales give no numbers, one way or another.
        #[test]
        fn blocks_hold_what_files_hold(bytes in proptest::collection::vec(any::<u8>(), 3 * 272 * 4)) {
            for encoding in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K] {
                let (rows, cols) = (3, 512);
                let row_bytes = encoding.row_bytes(cols).unwrap();
                let row = |row: usize| &bytes[row * row_bytes..][..row_bytes];
                let format = encoding.block_format().unwrap();
                let blocks = Blocks::fill(format, rows, cols, |r, out| {
                    encoding.unpack(row(r), out);
                    true
                });
                let blocks = blocks.unwrap();
                let (mut own, mut stored) = (vec![0.0; cols], vec![0.0; cols]);
                for r in 0..rows {
                    blocks.read_row(r, &mut own);
                    encoding.decode(row(r), &mut stored);
                    for (own, stored) in own.iter().zip(&stored) {
                        prop_assert!(own == stored || !own.is_finite() && !stored.is_finite(), "{encoding:?}: {own} {stored}");
                    }
                }
            }
        }
    }
}
