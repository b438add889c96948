//! Random numbers, queries, keys and values.

use crate::Error;
use crate::device::{Buffer, Device};
use crate::kv::KvPages;
use attention::shape::HeadShape;
use half::bf16;

/// Uniform in [0, 1): a linear congruential generator, good enough to leave blocks out by.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// Numbers made one by one; longer operands repeat them.
const PERIOD: usize = 1 << 20;

/// About normal numbers, as activations are: the clock of a GPU depends on what it multiplies.
fn noise(n: usize, seed: u64) -> Vec<bf16> {
    let mut random = Random::new(seed);
    let mut normal = || (0..12).map(|_| random.next() as f32).sum::<f32>() - 6.0;
    let period: Vec<bf16> = (0..n.min(PERIOD)).map(|_| bf16::from_f32(normal())).collect();
    let mut values = Vec::with_capacity(n);
    while values.len() < n {
        values.extend_from_slice(&period[..period.len().min(n - values.len())]);
    }
    values
}

/// Queries of so many tokens, `[token][q_head][head_dim]`.
///
/// # Errors
/// When there is no room, or the driver refuses.
pub(crate) fn queries(device: &Device, heads: HeadShape, tokens: usize) -> Result<Buffer<bf16>, Error> {
    // Room on the device first: what it has none for is not made on the host either.
    let mut q = device.room(tokens.saturating_mul(heads.num_q_heads()).saturating_mul(heads.head_dim()))?;
    q.write(&noise(q.len(), 3))?;
    Ok(q)
}

/// Replaces all keys and values.
///
/// # Errors
/// When the driver refuses.
pub(crate) fn fill(kv: &mut KvPages) -> Result<(), Error> {
    kv.write(&noise(kv.len(), 1), &noise(kv.len(), 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_about_normal() {
        let values: Vec<f64> = noise(100_000, 1).into_iter().map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean}, {variance}");
    }

    #[test]
    fn longer_noise_begins_like_shorter_and_repeats() {
        let long = noise(PERIOD + 10, 5);
        assert_eq!(long[..1000], noise(1000, 5));
        assert_eq!(long[PERIOD..], long[..10]);
        assert_ne!(long[..10], noise(10, 6));
        assert!(noise(0, 1).is_empty());
    }
}
