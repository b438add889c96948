//! Which token comes next.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most likely token.
    Greedy,
    /// Drawn at random; the same seed gives the same tokens on every machine.
    Random {
        /// Divides the logits; above 0.
        temperature: f32,
        /// Keep the k most likely; 0 keeps all.
        top_k: usize,
        /// Keep the most likely until they hold this much probability; 1 keeps all.
        top_p: f32,
        /// Seed.
        seed: u64,
    },
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} is {found}: expected {expected}")]
pub struct SamplingError {
    what: &'static str,
    expected: &'static str,
    found: f32,
}

/// Draws tokens.
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// # Errors
    /// Unless the temperature is above 0 and `top_p` in (0, 1].
    pub fn new(sampling: Sampling) -> Result<Self, SamplingError> {
        let mut seed = 0;
        if let Sampling::Random { temperature, top_p, seed: given, .. } = sampling {
            if !(temperature.is_finite() && temperature > 0.0) {
                return Err(SamplingError { what: "temperature", expected: "a number above 0", found: temperature });
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                return Err(SamplingError { what: "top_p", expected: "above 0, at most 1", found: top_p });
            }
            seed = given;
        }
        Ok(Self { sampling, random: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// The next token. NaN logits are never drawn; ties go to the lowest id.
    ///
    /// # Panics
    /// When `logits` is empty.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        assert!(!logits.is_empty(), "a vocabulary is not empty");
        let Sampling::Random { temperature, top_k, top_p, .. } = self.sampling else { return most_likely(logits) };
        let heavier = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| !logits[id as usize].is_nan()).collect();
        if top_k > 0 && top_k < ids.len() {
            ids.select_nth_unstable_by(top_k - 1, heavier);
            ids.truncate(top_k);
        }
        ids.sort_unstable_by(heavier);
        let Some(&first) = ids.first() else { return 0 };
        let top = logits[first as usize];
        let weight = |id: &u32| (((logits[*id as usize] - top) / temperature) as f64).exp();
        let weights: Vec<f64> = ids.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0;
        let mut mass = 0.0;
        while kept < ids.len() && mass < top_p as f64 * total {
            mass += weights[kept];
            kept += 1;
        }
        // 53 random bits: every double of [0, 1) on the same grid everywhere.
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * mass;
        for (id, weight) in ids.iter().zip(&weights).take(kept) {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        ids[kept.max(1) - 1]
    }
}

fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if logits[best].is_nan() || *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling::Random { temperature, top_k, top_p, seed }).unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best_and_no_nan() {
        let mut greedy = Sampler::new(Sampling::Greedy).unwrap();
        assert_eq!(greedy.sample(&[f32::NAN, 1.0, 3.0, 3.0, f32::NAN]), 2);
        assert_eq!(greedy.sample(&[f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let draw = |seed| {
            let mut sampler = random(1.0, 0, 1.0, seed);
            (0..20).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [2f32.ln(), 1f32.ln(), f32::NAN, 1f32.ln()];
        let mut sampler = random(1.0, 0, 1.0, 1);
        let mut counts = [0; 4];
        (0..4000).for_each(|_| counts[sampler.sample(&logits) as usize] += 1);
        assert!((1900..2100).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 3.0, 1.0, 2.0];
        let seen =
            |mut sampler: Sampler| (0..300).map(|_| sampler.sample(&logits)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(seen(random(5.0, 2, 1.0, 1)), [1, 3].into());
        assert_eq!(seen(random(1.0, 0, 0.6, 1)), [1].into());
        assert_eq!(seen(random(5.0, 0, 1.0, 1)).len(), 4);
    }

    #[test]
    fn refuses_what_cannot_be() {
        for (temperature, top_p) in [(0.0, 1.0), (-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.1)] {
            assert!(Sampler::new(Sampling::Random { temperature, top_k: 0, top_p, seed: 0 }).is_err());
        }
    }
}
