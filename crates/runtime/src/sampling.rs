//! Which token comes next.

mod adjustments;

use crate::logits::most_likely;
use adjustments::Adjustments;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter;

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
        /// Keep those at least this share as likely as the most likely; 0 keeps all (min-p, arXiv 2407.01082).
        min_p: f32,
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
    adjustments: Adjustments,
}

impl Sampler {
    /// # Errors
    /// Unless the temperature is above 0, `top_p` in (0, 1] and `min_p` in [0, 1].
    pub fn new(sampling: Sampling) -> Result<Self, SamplingError> {
        let mut seed = 0;
        if let Sampling::Random { temperature, top_p, min_p, seed: given, .. } = sampling {
            if !(temperature.is_finite() && temperature > 0.0) {
                return Err(SamplingError { what: "temperature", expected: "a number above 0", found: temperature });
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                return Err(SamplingError { what: "top_p", expected: "above 0, at most 1", found: top_p });
            }
            if !(0.0..=1.0).contains(&min_p) {
                return Err(SamplingError { what: "min_p", expected: "0 to 1", found: min_p });
            }
            seed = given;
        }
        Ok(Self { sampling, random: ChaCha8Rng::seed_from_u64(seed), adjustments: Adjustments::default() })
    }

    /// Makes tokens of `prompt`, and those that are drawn from here on, less likely: a logit above 0 is divided by `penalty`, one
    /// below multiplied by it, however often the token was there (CTRL, arXiv 1909.05858; the sign as Hugging Face transformers
    /// has it). 1 changes nothing, less makes them likelier.
    ///
    /// # Errors
    /// Unless `penalty` is a number above 0.
    pub fn with_repetition_penalty(self, penalty: f32, prompt: &[u32]) -> Result<Self, SamplingError> {
        if !(penalty.is_finite() && penalty > 0.0) {
            return Err(SamplingError { what: "repetition_penalty", expected: "a number above 0", found: penalty });
        }
        Ok(Self { adjustments: self.adjustments.with_repetition(penalty, prompt), ..self })
    }

    /// Makes tokens less likely that are drawn from here on: `frequency` is taken from a logit for each time that the token was
    /// drawn, `presence` once where it was drawn at all; as OpenAI's API has it. 0 changes nothing, less makes them likelier.
    ///
    /// # Errors
    /// Unless both are from -2 to 2.
    pub fn with_answer_penalties(self, frequency: f32, presence: f32) -> Result<Self, SamplingError> {
        for (what, found) in [("frequency_penalty", frequency), ("presence_penalty", presence)] {
            if !(-2.0..=2.0).contains(&found) {
                return Err(SamplingError { what, expected: "-2 to 2", found });
            }
        }
        Ok(Self { adjustments: self.adjustments.with_answer_penalties(frequency, presence), ..self })
    }

    /// Adds to the logits of these tokens.
    ///
    /// # Errors
    /// Unless all that is added is from -100 to 100.
    pub fn with_logit_bias(self, bias: &BTreeMap<u32, f32>) -> Result<Self, SamplingError> {
        if let Some(&found) = bias.values().find(|added| !(-100.0..=100.0).contains(*added)) {
            return Err(SamplingError { what: "logit_bias", expected: "-100 to 100", found });
        }
        Ok(Self { adjustments: self.adjustments.with_bias(bias.clone()), ..self })
    }

    /// Whether the next token is the most likely one, whatever was drawn.
    pub fn takes_the_likeliest(&self) -> bool {
        self.sampling == Sampling::Greedy && self.adjustments.are_none()
    }

    /// The next token; `None` unless the largest logit is a finite number, for then the model says nothing. NaN logits are
    /// never drawn; ties go to the lowest id.
    ///
    /// The repetition penalty comes first, then other penalties and biases; `top_k` cuts next, `top_p` then cuts what `top_k` left, and `min_p` what `top_p`
    /// left, as Hugging Face transformers does.
    ///
    /// # Panics
    /// When `logits` is empty.
    pub fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        let adjusted = self.adjustments.apply(logits);
        let token = self.choose(adjusted.as_deref().unwrap_or(logits))?;
        self.adjustments.take(token);
        Some(token)
    }

    fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        assert!(!logits.is_empty(), "a vocabulary is not empty");
        let (best, top) = most_likely(iter::once(logits));
        if !top.is_finite() {
            return None;
        }
        let Sampling::Random { temperature, top_k, top_p, min_p, .. } = self.sampling else { return Some(best) };
        // The mathematics of this crate, not of the system: exp differs in its last bit from one to the next.
        let weight = |logit: f32| libm::exp((logit as f64 - top as f64) / temperature as f64);
        let candidates = (0u32..).zip(logits).filter(|(_, logit)| !logit.is_nan());
        let mut candidates: Vec<Candidate> = candidates.map(|(id, &x)| Candidate { id, weight: weight(x) }).collect();
        if top_k > 0 {
            keep_heaviest(&mut candidates, top_k);
        }
        if top_p < 1.0 {
            keep_mass(&mut candidates, top_p as f64);
        }
        // The most likely weighs 1.
        candidates.retain(|candidate| candidate.weight >= min_p as f64);
        Some(self.draw(&candidates))
    }

    /// One candidate, as often as its weight says.
    fn draw(&mut self, candidates: &[Candidate]) -> u32 {
        let total: f64 = candidates.iter().map(|c| c.weight).sum();
        // 53 random bits: every double of [0, 1) on the same grid everywhere.
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        let drawn = candidates.iter().find(|c| {
            left -= c.weight;
            left < 0.0
        });
        // Rounding may leave a little when all weights are taken off.
        drawn.or(candidates.iter().rfind(|c| c.weight > 0.0)).expect("the best has weight 1").id
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    /// Probability over that of the most likely token.
    weight: f64,
}

impl Candidate {
    /// The heavier first, the lower id first among equals.
    fn order(&self, other: &Self) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.id.cmp(&other.id))
    }
}

fn keep_heaviest(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, Candidate::order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(Candidate::order);
}

/// Keeps the heaviest that together hold `top_p` of the weight.
fn keep_mass(candidates: &mut Vec<Candidate>, top_p: f64) {
    let target = top_p * candidates.iter().map(|c| c.weight).sum::<f64>();
    // A few tokens nearly always hold it; sorting a vocabulary of 150,000 for each token would cost milliseconds.
    let mut sorted = 0;
    let mut mass = 0.0;
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let step = rest.len().min(sorted.max(64));
        if step < rest.len() {
            rest.select_nth_unstable_by(step - 1, Candidate::order);
        }
        rest[..step].sort_unstable_by(Candidate::order);
        for (taken, candidate) in rest[..step].iter().enumerate() {
            mass += candidate.weight;
            if mass >= target {
                candidates.truncate(sorted + taken + 1);
                return;
            }
        }
        sorted += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling::Random { temperature, top_k, top_p, min_p: 0.0, seed }).unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best_and_no_nan() {
        let mut greedy = Sampler::new(Sampling::Greedy).unwrap();
        assert_eq!(greedy.sample(&[f32::NAN, 1.0, 3.0, 3.0, f32::NAN]), Some(2));
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let draw = |seed| {
            let mut sampler = random(1.0, 0, 1.0, seed);
            (0..20).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [2f32.ln(), 1f32.ln(), f32::NAN, 1f32.ln()];
        let mut sampler = random(1.0, 0, 1.0, 1);
        let mut counts = [0; 4];
        (0..4000).for_each(|_| counts[sampler.sample(&logits).unwrap() as usize] += 1);
        assert!((1900..2100).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 3.0, 1.0, 2.0];
        let seen = |mut sampler: Sampler| {
            (0..300).map(|_| sampler.sample(&logits).unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(seen(random(5.0, 2, 1.0, 1)), [1, 3].into());
        assert_eq!(seen(random(1.0, 0, 0.6, 1)), [1].into());
        assert_eq!(seen(random(5.0, 0, 1.0, 1)).len(), 4);
    }

    #[test]
    fn min_p_keeps_what_is_likely_enough_beside_the_best() {
        let logits = [0.0f32, 3.0, 1.0, 2.0, -1.0];
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let probability = |logit: f32| logit.exp() / total;
        for min_p in [0.0, 0.03, 0.1, 0.3, 0.9, 1.0] {
            let likely = |id: &u32| probability(logits[*id as usize]) >= min_p * probability(3.0);
            let direct: std::collections::BTreeSet<u32> = (0..5).filter(likely).collect();
            let sampling = Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, min_p, seed: 3 };
            let mut sampler = Sampler::new(sampling).unwrap();
            let drawn = (0..5000).map(|_| sampler.sample(&logits).unwrap()).collect();
            assert_eq!(direct, drawn, "{min_p}");
        }
    }

    #[test]
    fn a_penalty_holds_for_the_prompt_and_for_what_was_drawn() {
        let sampler = || Sampler::new(Sampling::Greedy).unwrap();
        let logits = [3.0, 2.0, 1.8, -0.5];
        // Of the prompt 3.0 becomes 1.5; then 2.0 is drawn and becomes 1.0, then 1.8 becomes 0.9. A token counts once.
        let mut penalised = sampler().with_repetition_penalty(2.0, &[0, 0, 3, 99]).unwrap();
        assert_eq!([0; 5].map(|_| penalised.sample(&logits).unwrap()), [1, 2, 0, 0, 0]);
        // Below 0 a penalty makes less of it too.
        assert_eq!(sampler().with_repetition_penalty(2.0, &[0]).unwrap().sample(&[-1.0, -1.5]), Some(1));
        assert_eq!(sampler().with_repetition_penalty(1.0, &[0]).unwrap().sample(&logits), Some(0));
    }

    #[test]
    fn what_was_drawn_loses_once_and_each_time() {
        let greedy = || Sampler::new(Sampling::Greedy).unwrap();
        let draw = |mut sampler: Sampler, logits: &[f32]| [0; 6].map(|_| sampler.sample(logits).unwrap());
        // Drawn c times, token 0 has 2 - c, token 1 has 1.5 - c, token 2 has 0 - c.
        assert_eq!(draw(greedy().with_answer_penalties(1.0, 0.0).unwrap(), &[2.0, 1.5, 0.0]), [0, 1, 0, 1, 0, 2]);
        // Each loses 1.5 the first time and nothing then: 2 becomes 0.5, 1.5 becomes 0, 0.75 becomes -0.75.
        assert_eq!(draw(greedy().with_answer_penalties(0.0, 1.5).unwrap(), &[2.0, 1.5, 0.75]), [0, 1, 2, 0, 0, 0]);
        assert_eq!(draw(greedy().with_answer_penalties(0.5, -1.0).unwrap(), &[2.0, 1.5, 0.0]), [0, 0, 0, 0, 1, 1]);
        assert_eq!(draw(greedy().with_answer_penalties(0.0, 0.0).unwrap(), &[2.0, 1.5, 0.0]), [0; 6]);
    }

    #[test]
    fn a_bias_is_added_to_a_logit() {
        let greedy = |bias: &[(u32, f32)]| {
            Sampler::new(Sampling::Greedy).unwrap().with_logit_bias(&bias.iter().copied().collect()).unwrap()
        };
        let logits = [3.0, 2.0, f32::NEG_INFINITY];
        for (bias, drawn) in
            [(&[][..], 0), (&[(1, 0.9)], 0), (&[(1, 1.1)], 1), (&[(0, -100.0)], 1), (&[(2, 100.0), (9, 1.0)], 0)]
        {
            assert_eq!(greedy(bias).sample(&logits), Some(drawn), "{bias:?}");
        }
        // Once, however often it is drawn.
        let mut both = greedy(&[(1, 1.5)]).with_answer_penalties(0.5, 0.0).unwrap();
        assert_eq!([0; 4].map(|_| both.sample(&logits).unwrap()), [1, 0, 1, 0]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_hold_the_mass_of_a_large_vocabulary() {
        // Equal weights: 0.25 of 4,096 is the first 1,024 ids, found over several steps of the partial sort.
        let mut candidates: Vec<Candidate> = (0..4096).rev().map(|id| Candidate { id, weight: 1.0 }).collect();
        keep_mass(&mut candidates, 0.25);
        assert!(candidates.iter().map(|c| c.id).eq(0..1024));
    }

    #[test]
    fn a_seed_draws_these_tokens_on_every_machine() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 10.0).collect();
        let mut sampler = random(0.8, 50, 0.9, 42);
        let drawn: Vec<u32> = (0..8).map(|_| sampler.sample(&logits).unwrap()).collect();
        assert_eq!(drawn, [797, 150, 666, 494, 60, 535, 161, 322]);
    }

    #[test]
    fn nothing_is_drawn_without_a_finite_best() {
        for mut sampler in [random(1.0, 0, 0.9, 0), Sampler::new(Sampling::Greedy).unwrap()] {
            assert_eq!(sampler.sample(&[1.0, f32::INFINITY, 2.0]), None);
            assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 3]), None);
            assert_eq!(sampler.sample(&[f32::NAN; 3]), None);
            assert_eq!(sampler.sample(&[f32::NEG_INFINITY, 1.0, f32::NAN]), Some(1));
        }
    }

    proptest! {
        #[test]
        fn any_logits_draw_a_number_that_is_there_or_nothing(
            logits in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 1..200),
            temperature in 1e-3f32..1e3,
            top_k in 0usize..300,
            top_p in 1e-3f32..=1.0,
            seed: u64,
        ) {
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let drawn = random(temperature, top_k, top_p, seed).sample(&logits);
            prop_assert_eq!(drawn.is_some(), top.is_finite());
            prop_assert!(drawn.is_none_or(|id| logits[id as usize].is_finite()));
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        for (temperature, top_p) in [(0.0, 1.0), (-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.1)] {
            assert!(Sampler::new(Sampling::Random { temperature, top_k: 0, top_p, min_p: 0.0, seed: 0 }).is_err());
        }
        for min_p in [-0.1, 1.1, f32::NAN] {
            let sampling = Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, min_p, seed: 0 };
            assert!(Sampler::new(sampling).is_err(), "{min_p}");
        }
        for penalty in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(
                Sampler::new(Sampling::Greedy).unwrap().with_repetition_penalty(penalty, &[]).is_err(),
                "{penalty}"
            );
        }
        let greedy = || Sampler::new(Sampling::Greedy).unwrap();
        for penalty in [-2.1, 2.1, f32::NAN, f32::INFINITY] {
            assert!(
                greedy().with_answer_penalties(penalty, 0.0).is_err()
                    && greedy().with_answer_penalties(0.0, penalty).is_err()
            );
        }
        for bias in [-100.1, 100.1, f32::NAN] {
            assert!(greedy().with_logit_bias(&[(0, bias)].into()).is_err(), "{bias}");
        }
    }
}
