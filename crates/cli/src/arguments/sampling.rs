//! How tokens are drawn.

use super::numbers::{penalty, share, share_or_0, temperature, whole};
use clap::Args;
use runtime::sampling::Sampling;

#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// Seed of the draws; the same seed gives the same text
    #[arg(long, default_value_t = 0, value_name = "S", value_parser = whole::<u64>)]
    pub seed: u64,
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0, value_name = "T", value_parser = temperature)]
    pub temperature: f32,
    /// Draw among the K most likely tokens; 0 among all
    #[arg(long, default_value_t = 0, value_name = "K", value_parser = whole::<usize>)]
    pub top_k: usize,
    /// Draw among the most likely tokens that hold this much probability
    #[arg(long, default_value_t = 1.0, value_name = "P", value_parser = share)]
    pub top_p: f32,
    /// Draw among tokens at least this share as likely as the likeliest
    #[arg(long, default_value_t = 0.0, value_name = "P", value_parser = share_or_0)]
    pub min_p: f32,
    /// Above 1, make tokens of prompt and answer less likely
    ///
    /// Logits above 0 are divided by it, those below multiplied; 1.1 is usual. Also where the most likely token is always taken.
    #[arg(long, default_value_t = 1.0, value_name = "F", value_parser = penalty)]
    pub repetition_penalty: f32,
}

impl SamplingArguments {
    /// As the engine wants them.
    pub fn sampling(&self) -> Sampling {
        let &Self { seed, temperature, top_k, top_p, min_p, .. } = self;
        match temperature {
            0.0 => Sampling::Greedy,
            temperature => Sampling::Random { temperature, top_k, top_p, min_p, seed },
        }
    }
}
