//! Flags that say which model, where it runs, and what sparse prefill aims at.

use super::choices;
use super::numbers::{at_least_one, bytes, share, threads};
use clap::Args;
use runtime::config::StretchContext;
use runtime::engine::EngineOptions;
use runtime::precision::{AttentionPrecision, Products, Quantization};
use runtime::request::{Device, Goal};
use runtime::weights::RandomWeights;
use std::fmt;
use std::path::PathBuf;

/// Which model, and where it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// GGUF file, Hugging Face folder, or Hugging Face id (`org/name`)
    ///
    /// Any part of a split GGUF file stands for all, a `.safetensors` file for its folder; blobs and manifests of Ollama are read
    /// too. What is no path here is looked for in the hub: `org/name`, `org/name:file.gguf`, of another revision
    /// `org/name@revision`.
    #[arg(short, long, value_name = "MODEL")]
    pub model: String,
    /// Where the model runs
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = choices::device())]
    pub device: Device,
    /// Worker threads; 0 takes one for each core
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = threads)]
    pub threads: usize,
    /// Prompt tokens that go through the layers together; the default suits the device (4096 on a CPU)
    #[arg(long, value_name = "N", value_parser = at_least_one, hide_short_help = true)]
    pub chunk_tokens: Option<usize>,
    /// Read prompts beyond the model's context, like yarn:4
    ///
    /// yarn:4, dynamic:2 or linear:2, with another factor where it should be; the model's card says which it was made for.
    #[arg(long, value_name = "KIND:FACTOR")]
    pub rope_scaling: Option<StretchContext>,
    /// Tokens of the context, where the model's files say it wrong
    ///
    /// Prompt and answer together.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub context: Option<usize>,
    /// Measure on random weights: the model is a config.json, or a folder with one
    #[arg(
        long,
        value_name = "KIND",
        num_args = 0..=1,
        default_missing_value = "bf16",
        value_parser = choices::random_weights(),
        hide_short_help = true
    )]
    pub random_weights: Option<RandomWeights>,
    /// Round the weights of layers, and what they are multiplied with
    ///
    /// Half the memory, faster products; `eval` says what it costs in quality.
    #[arg(long, value_name = "KIND", value_parser = choices::quantization(), hide_short_help = true)]
    pub quantization: Option<Quantization>,
    /// Refuse work that would take more memory, like 8G
    ///
    /// Or 512M; the default is what the machine has free.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_memory: Option<u64>,
    /// Time matrix products and the stages of the search as well as attention (GPUs)
    #[arg(long, hide_short_help = true)]
    pub profile: bool,
    /// In what the attention of prompts multiplies on a GPU
    ///
    /// 8 bits are faster there and a little less exact.
    #[arg(
        long,
        value_name = "KIND",
        default_value = "bf16",
        value_parser = choices::precision(),
        hide_short_help = true
    )]
    pub attention_precision: AttentionPrecision,
    /// In what a CPU multiplies quantised weights with the tokens of a prompt
    ///
    /// 8 bits are the fastest and a little less exact.
    #[arg(
        long,
        value_name = "KIND",
        default_value = "auto",
        value_parser = choices::products(),
        hide_short_help = true
    )]
    pub products: Products,
    /// Let the search reckon with the costs in this file, which `sparse-accelerate calibrate` wrote on this machine
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub calibration: Option<PathBuf>,
}

impl ModelArguments {
    /// As the engine wants them.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            device: self.device,
            threads: self.threads,
            chunk_tokens: self.chunk_tokens,
            stretch: self.rope_scaling,
            context: self.context,
            random_weights: self.random_weights,
            quantization: self.quantization,
            attention_precision: self.attention_precision,
            products: self.products,
            profile: self.profile,
            max_memory_bytes: self.max_memory,
        }
    }
}

/// What sparse prefill aims at.
#[derive(Args)]
#[command(next_help_heading = "Attention")]
pub struct GoalArguments {
    /// Attention mass to keep in every head, above 0, at most 1 [default: 0.98]
    #[arg(long, value_name = "R", value_parser = share)]
    recall: Option<f32>,
    /// Keep as much as fits instead, like density=0.1
    ///
    /// `density=0.1` of all pairs, `cost=0.3` of dense attention's predicted time, or `time=500ms` for attention and search
    /// (needs --calibration on a CPU and on GPUs other than Hopper).
    #[arg(long, value_name = "KIND=SIZE", conflicts_with = "recall")]
    budget: Option<Goal>,
}

/// In words.
impl fmt::Display for GoalArguments {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.goal() {
            Goal::Recall(share) => write!(f, "a recall of {share}"),
            Goal::Density(share) => write!(f, "a density of {share}"),
            Goal::Cost(share) => write!(f, "{share} of dense attention's predicted time"),
            Goal::AttentionMs(ms) => write!(f, "{ms} ms of attention"),
        }
    }
}

impl GoalArguments {
    /// As a request wants it.
    pub fn goal(&self) -> Goal {
        self.budget.or(self.recall.map(Goal::Recall)).unwrap_or_default()
    }

    /// The flag and its value as they were given, for a command line of this program; none where neither was.
    pub fn as_flag(&self) -> Option<(&'static str, String)> {
        let recall = self.recall.map(|share| ("--recall", share.to_string()));
        recall.or(self.budget.map(|budget| ("--budget", budget.to_string())))
    }
}

/// What sparse prefill aims at, once for each goal.
#[derive(Args)]
#[command(next_help_heading = "Attention")]
pub struct GoalsArguments {
    /// Attention mass to keep in every head, above 0, at most 1 [default: 0.98]
    ///
    /// Several, like 0.98,0.9, are run one beside the other; budgets likewise, also beside recalls.
    #[arg(long, value_name = "R,..", value_delimiter = ',', value_parser = share)]
    recall: Vec<f32>,
    /// Keep as much as fits, like density=0.1
    ///
    /// `density=0.1` of all pairs, `cost=0.3` of dense attention's predicted time, or `time=500ms` for attention and search
    /// (needs --calibration on a CPU and on GPUs other than Hopper).
    #[arg(long, value_name = "KIND=SIZE,..", value_delimiter = ',')]
    budget: Vec<Goal>,
}

impl GoalsArguments {
    /// As arms want them: recalls, then budgets; the default recall where neither is given.
    pub fn goals(&self) -> Vec<Goal> {
        let goals: Vec<Goal> =
            self.recall.iter().copied().map(Goal::Recall).chain(self.budget.iter().copied()).collect();
        if goals.is_empty() { vec![Goal::default()] } else { goals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_recall_is_what_the_help_says() {
        assert_eq!(Goal::default(), Goal::Recall(0.98));
    }
}
