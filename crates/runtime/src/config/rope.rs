//! Rotary position embedding and the ways to stretch it over longer contexts.

use std::f64::consts::PI;

/// Which angles positions turn by (RoFormer, arXiv 2104.09864): pair `i` of a head of `d` elements turns by
/// `theta^(-2 i / d)` a position, changed by the scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base.
    pub theta: f64,
    /// How it is stretched.
    pub scaling: RopeScaling,
}

/// How a model that was trained on short contexts reads long ones.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every position is divided (position interpolation, arXiv 2306.15595).
    Linear {
        /// By this.
        factor: f64,
    },
    /// The base grows with the prompt: `theta (factor n / original - (factor - 1))^(d / (d - 2))` for a prompt of `n`
    /// tokens, as trained up to `original` ("dynamic NTK"). The base of a prompt holds for all that is generated behind it,
    /// because keys are cached rotated; transformers lets it grow further there.
    Dynamic {
        /// How much longer contexts are meant to be.
        factor: f64,
        /// Context of the training.
        original: usize,
    },
    /// Fast pairs as trained, slow ones divided, a ramp between (YaRN, arXiv 2309.00071).
    Yarn {
        /// How much longer contexts are.
        factor: f64,
        /// Context of the training.
        original: usize,
        /// Factor of cos and sin, which sharpens the softmax; the paper's is `0.1 ln(factor) + 1`.
        attention_factor: f64,
        /// Pairs that turn this often over the training's context stay.
        beta_fast: f64,
        /// Pairs that turn less often than this are divided.
        beta_slow: f64,
        /// Whether the ramp's ends are whole pairs.
        truncate: bool,
    },
    /// As YaRN with the ramp over wavelengths (Llama 3.1, arXiv 2407.21783).
    Llama3 {
        /// How much longer contexts are.
        factor: f64,
        /// Context of the training.
        original: usize,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` stay.
        high_freq_factor: f64,
    },
    /// Each pair's angle is divided by its own number (`rope_freqs.weight` of GGUF files), `[head_dim / 2]`.
    Divisors(Vec<f32>),
    /// The same with one list for prompts within the context of the training and another for longer ones (LongRoPE, arXiv
    /// 2402.13753). As under [`Dynamic`](Self::Dynamic), the list of a prompt holds for all that is generated behind it.
    LongRope {
        /// Context of the training.
        original: usize,
        /// Divisors of prompts up to it, `[head_dim / 2]`.
        short: Vec<f32>,
        /// Divisors of longer prompts.
        long: Vec<f32>,
        /// Factor of cos and sin.
        attention_factor: f64,
    },
    /// Nothing turns: a layer that knows no positions (NoPE).
    Still,
}

impl Rope {
    /// Tokens of the shortest prompt that rotates as one of `prompt_len` does.
    pub fn least_alike(&self, prompt_len: usize) -> usize {
        match &self.scaling {
            RopeScaling::Dynamic { original, .. } if prompt_len > *original => prompt_len,
            RopeScaling::LongRope { original, .. } if prompt_len > *original => original + 1,
            _ => 0,
        }
    }

    /// Radians a position of each pair, `[head_dim / 2]`, and the factor of cos and sin, for a prompt of `prompt_len`
    /// tokens.
    pub fn frequencies(&self, head_dim: usize, prompt_len: usize) -> (Vec<f64>, f64) {
        let dim = head_dim as f64;
        let of_base = |theta: f64| (0..head_dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / dim));
        match &self.scaling {
            RopeScaling::None => (of_base(self.theta).collect(), 1.0),
            RopeScaling::Linear { factor } => (of_base(self.theta).map(|f| f / factor).collect(), 1.0),
            RopeScaling::Dynamic { factor, original } => {
                let longer = prompt_len.max(*original) as f64 / *original as f64;
                let growth = (factor * longer - (factor - 1.0)).powf(dim / (dim - 2.0));
                (of_base(self.theta * growth).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, original, attention_factor, beta_fast, beta_slow, truncate } => {
                let pair_turning =
                    |turns: f64| dim * (*original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (pair_turning(*beta_fast), pair_turning(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretched = of_base(self.theta).enumerate().map(|(i, frequency)| {
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * divided + frequency * (1.0 - divided)
                });
                (stretched.collect(), *attention_factor)
            }
            RopeScaling::Llama3 { factor, original, low_freq_factor, high_freq_factor } => {
                let stretched = of_base(self.theta).map(|frequency| {
                    let turns = *original as f64 * frequency / (2.0 * PI);
                    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                });
                (stretched.collect(), 1.0)
            }
            RopeScaling::Divisors(divisors) => {
                (of_base(self.theta).zip(divisors).map(|(f, divisor)| f / *divisor as f64).collect(), 1.0)
            }
            RopeScaling::LongRope { original, short, long, attention_factor } => {
                let divisors = if prompt_len > *original { long } else { short };
                let divided = of_base(self.theta).zip(divisors).map(|(f, divisor)| f / *divisor as f64);
                (divided.collect(), *attention_factor)
            }
            RopeScaling::Still => (vec![0.0; head_dim / 2], 1.0),
        }
    }

    /// What LongRoPE's paper sharpens the softmax by, for contexts `factor` times as long as `original`.
    pub(super) fn long_attention_factor(factor: f64, original: usize) -> f64 {
        if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() }
    }

    /// What YaRN's paper sharpens the softmax by.
    pub(super) fn yarn_attention_factor(factor: f64, multiplier: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 }
    }

    /// Something that is out of range, with what was expected.
    pub(super) fn wrong(&self, head_dim: usize) -> Option<(&'static str, String, &'static str)> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let bad = |what, found: f64, expected| Some((what, found.to_string(), expected));
        if !positive(self.theta) {
            return bad("RoPE base", self.theta, "a number above 0");
        }
        let factor = match &self.scaling {
            RopeScaling::None | RopeScaling::Still => 1.0,
            RopeScaling::Linear { factor } => *factor,
            RopeScaling::Dynamic { factor, original }
            | RopeScaling::Yarn { factor, original, .. }
            | RopeScaling::Llama3 { factor, original, .. } => {
                if *original == 0 || head_dim <= 2 {
                    return bad("original context of the RoPE scaling", *original as f64, "at least 1");
                }
                *factor
            }
            RopeScaling::LongRope { original: 0, .. } => {
                return bad("original context of the RoPE scaling", 0.0, "at least 1");
            }
            RopeScaling::LongRope { short, long, .. } if short.len() != long.len() => {
                return bad("number of long RoPE factors", long.len() as f64, "as many as short ones");
            }
            RopeScaling::Divisors(divisors) | RopeScaling::LongRope { short: divisors, .. } => {
                if divisors.len() != head_dim / 2 {
                    return bad("number of RoPE divisors", divisors.len() as f64, "half the head size");
                }
                let long: &[f32] = match &self.scaling {
                    RopeScaling::LongRope { long, .. } => long,
                    _ => &[],
                };
                divisors.iter().chain(long).map(|x| *x as f64).find(|x| !positive(*x)).unwrap_or(1.0)
            }
        };
        if !(positive(factor) && factor < 1e6) {
            return bad("RoPE scaling factor", factor, "a number above 0");
        }
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. }
                if !positive(attention_factor) =>
            {
                bad("attention factor of the RoPE scaling", attention_factor, "a number above 0")
            }
            RopeScaling::Yarn { beta_fast, beta_slow, .. } if !(positive(beta_slow) && beta_fast > beta_slow) => {
                bad("beta_fast of the RoPE scaling", beta_fast, "above beta_slow, which is above 0")
            }
            RopeScaling::Yarn { .. } if self.theta <= 1.0 => bad("RoPE base", self.theta, "above 1 under YaRN"),
            RopeScaling::Llama3 { low_freq_factor, high_freq_factor, .. }
                if !(positive(low_freq_factor) && high_freq_factor > low_freq_factor) =>
            {
                bad("high_freq_factor of the RoPE scaling", high_freq_factor, "above low_freq_factor, which is above 0")
            }
            _ => None,
        }
    }
}
