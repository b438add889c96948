//! How tokens are drawn.

use super::{share, temperature};
use clap::Args;
use runtime::sampling::Sampling;

#[derive(Args)]
pub struct SamplingArguments {
    /// Seed of the draws; the same seed gives the same text
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0, value_name = "T", value_parser = temperature)]
    pub temperature: f32,
    /// Draw among the K most likely tokens; 0 among all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Draw among the most likely tokens that hold this much probability
    #[arg(long, default_value_t = 1.0, value_name = "P", value_parser = share)]
    pub top_p: f32,
}

impl SamplingArguments {
    /// As the engine wants them.
    pub fn sampling(&self) -> Sampling {
        let &Self { seed, temperature, top_k, top_p } = self;
        match temperature {
            0.0 => Sampling::Greedy,
            temperature => Sampling::Random { temperature, top_k, top_p, seed },
        }
    }
}
