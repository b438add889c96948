//! How the next token is drawn, in APIs that say it by these fields.

use crate::random;
use runtime::sampling::Sampling;

/// Fields that may be there; without any, what the model says is drawn as it says it.
#[derive(Default)]
pub(crate) struct Draw {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub min_p: Option<f32>,
    pub seed: Option<u64>,
}

impl From<Draw> for Sampling {
    fn from(Draw { temperature, top_p, top_k, min_p, seed }: Draw) -> Self {
        match temperature.unwrap_or(1.0) {
            0.0 => Sampling::Greedy,
            temperature => Sampling::Random {
                temperature,
                top_k: top_k.unwrap_or(0),
                top_p: top_p.unwrap_or(1.0),
                min_p: min_p.unwrap_or(0.0),
                seed: seed.unwrap_or_else(random::number),
            },
        }
    }
}
