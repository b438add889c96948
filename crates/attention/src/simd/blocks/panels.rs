//! The input of a product of many rows in integers.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use crate::Aligned;
use crate::simd::{K_STEP, LANES, Simd, each_lane, packed_len};
use half::bf16;

/// Bytes of an integer that stands for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputWidth {
    /// 8-bit integers, off by at most 1/254 of the largest of 32 inputs.
    OneByte,
    /// 15-bit integers, off by at most 1/32512 of it: twice the products.
    TwoBytes,
}

impl InputWidth {
    /// Number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            InputWidth::OneByte => 1,
            InputWidth::TwoBytes => 2,
        }
    }
}

/// Panels of sixteen tokens as integers, with an f32 scale for each 32 features of a token.
///
/// An infinity or NaN makes the scale NaN, and with it every product of the token. The room is kept from one use to the next.
pub struct QuantisedPanels {
    width: InputWidth,
    /// Runs of 32 features in a panel.
    pub(super) steps: usize,
    pub(super) count: usize,
    /// `[panel][features / 32][width][8][16][4]`: four features of sixteen tokens in a vector; the upper bytes of 32 features before the lower.
    pub(super) bytes: Aligned<u8>,
    /// `[panel][features / 32][4][16]`: the scales, and what the scaled integers of the 32, of the first and of the second half of them sum to.
    pub(super) numbers: Aligned<f32>,
}

/// Elements of `numbers` for 32 features.
pub(super) const NUMBERS: usize = 4 * LANES;
/// Bytes of 32 features, one of each.
pub(super) const PLANE: usize = K_STEP * LANES;

impl Default for QuantisedPanels {
    fn default() -> Self {
        let (bytes, numbers) = (Aligned::default(), Aligned::default());
        Self { width: InputWidth::OneByte, steps: 0, count: 0, bytes, numbers }
    }
}

impl QuantisedPanels {
    /// Rounds packed panels ([`pack`](crate::simd::pack)) of `features` features.
    ///
    /// # Panics
    /// When `features` is 0 or not a multiple of 32, `x` not whole panels of them, or the processor does not have `simd`.
    pub fn quantise(&mut self, simd: Simd, width: InputWidth, features: usize, x: &[bf16]) {
        let given = x.len();
        assert!(features > 0 && features.is_multiple_of(K_STEP), "{features} features are no groups of {K_STEP}");
        assert!(given.is_multiple_of(packed_len(features)), "{given} numbers are no panels of {features} features");
        let count = given / packed_len(features);
        (self.width, self.steps, self.count) = (width, features / K_STEP, count);
        let (bytes, numbers) = (width.bytes() * given, given / PLANE * NUMBERS);
        if self.bytes.len() < bytes {
            self.bytes = Aligned::zeroed(bytes);
        }
        if self.numbers.len() < numbers {
            self.numbers = Aligned::zeroed(numbers);
        }
        let x = bytemuck::cast_slice(x);
        let out = bytemuck::cast_slice_mut(&mut self.bytes[..bytes]);
        let numbers = &mut self.numbers[..numbers];
        simd.assert_available();
        match (simd, width) {
            // SAFETY: `assert_available` found the set on this machine.
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx, InputWidth::OneByte) => unsafe {
                avx512::quantise::<1>(x, out, numbers)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx, InputWidth::TwoBytes) => unsafe {
                avx512::quantise::<2>(x, out, numbers)
            },
            // SAFETY: as above; every such processor has NEON.
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon | Simd::NeonDotprod, InputWidth::OneByte) => unsafe { neon::quantise::<1>(x, out, numbers) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon | Simd::NeonDotprod, InputWidth::TwoBytes) => unsafe { neon::quantise::<2>(x, out, numbers) },
            (_, InputWidth::OneByte) => one_byte(simd, x, out, numbers),
            (_, InputWidth::TwoBytes) => two_bytes(simd, x, out, numbers),
        }
    }

    /// Bytes of an integer.
    pub fn width(&self) -> InputWidth {
        self.width
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.count
    }
}

crate::multiversion! {
    fn one_byte(x: &[u32], bytes: &mut [u32], numbers: &mut [f32]) {
        quantise::<1>(x, bytes, numbers)
    }
}

crate::multiversion! {
    fn two_bytes(x: &[u32], bytes: &mut [u32], numbers: &mut [f32]) {
        quantise::<2>(x, bytes, numbers)
    }
}

/// The largest integer.
const fn most(bytes: usize) -> f32 {
    if bytes == 1 { 127.0 } else { 127.0 * 128.0 }
}

/// Pairs of bf16 to bytes, four in a word.
#[inline(always)]
fn quantise<const BYTES: usize>(x: &[u32], bytes: &mut [u32], numbers: &mut [f32]) {
    let most = most(BYTES);
    let steps = x.chunks_exact(PLANE / 2).zip(bytes.chunks_exact_mut(BYTES * PLANE / 4));
    for ((x, bytes), numbers) in steps.zip(numbers.chunks_exact_mut(NUMBERS)) {
        // Without their signs, bf16 numbers are ordered as their bits are.
        let mut largest = [0u32; LANES];
        for pairs in x.as_chunks::<LANES>().0 {
            largest = each_lane(|i| largest[i].max(pairs[i] & 0x7fff).max(pairs[i] >> 16 & 0x7fff));
        }
        let peak = largest.map(|bits| f32::from_bits(bits << 16));
        // Where this would not be finite, all numbers are as good as zero.
        let inverse = peak.map(|peak| if peak > 0.0 { (most / peak).min(f32::MAX) } else { 0.0 });
        let scale: [f32; LANES] = each_lane(|i| if largest[i] >= 0x7f80 { f32::NAN } else { peak[i] / most });
        let mut sums = [[0i32; LANES]; 2];
        for (step, pairs) in x.as_chunks::<{ 2 * LANES }>().0.iter().enumerate() {
            let mut words = [[0u32; LANES]; BYTES];
            for column in 0..4 {
                let pairs: &[u32; LANES] = pairs[column / 2 * LANES..][..LANES].try_into().expect("sixteen pairs");
                let integers: [i32; LANES] = each_lane(|i| {
                    let value = f32::from_bits(if column % 2 == 0 { pairs[i] << 16 } else { pairs[i] & 0xffff_0000 });
                    (value * inverse[i]).round_ties_even().clamp(-most, most) as i32
                });
                let sum = &mut sums[step / 4];
                *sum = each_lane(|i| sum[i] + integers[i]);
                let upper: [i32; LANES] = if BYTES == 1 { integers } else { each_lane(|i| (integers[i] + 64) >> 7) };
                words[0] = each_lane(|i| words[0][i] | (upper[i] as u32 & 255) << (8 * column));
                if BYTES == 2 {
                    let lower = |i: usize| (integers[i] - (upper[i] << 7)) as u32 & 255;
                    words[1] = each_lane(|i| words[1][i] | lower(i) << (8 * column));
                }
            }
            for (plane, words) in words.iter().enumerate() {
                bytes[plane * PLANE / 4 + step * LANES..][..LANES].copy_from_slice(words);
            }
        }
        for lane in 0..LANES {
            let [first, second] = [sums[0][lane], sums[1][lane]];
            numbers[lane] = scale[lane];
            numbers[LANES + lane] = scale[lane] * (first + second) as f32;
            numbers[2 * LANES + lane] = scale[lane] * first as f32;
            numbers[3 * LANES + lane] = scale[lane] * second as f32;
        }
    }
}
