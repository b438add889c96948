//! Flags of `fit`.

use super::choices;
use super::numbers::{at_least_one, bytes};
use clap::Args;
use runtime::config::StretchContext;
use runtime::dry_run::Place;
use runtime::engine::EngineOptions;
use runtime::precision::{AttentionPrecision, Quantization};
use runtime::request::AttentionMode;
use runtime::weights::RandomWeights;

#[derive(Args)]
#[command(after_long_help = "It ends with exit code 0 where the context fits, and with 1 where it does not.

Examples:
  sparse-accelerate fit --model model.gguf --context 50000
  sparse-accelerate fit --model model.gguf --context 50000 --device-memory 24G
  sparse-accelerate fit --model config.json --random-weights --context 131072 --device-memory 80G --json | jq .fits")]
pub struct Fit {
    /// GGUF file, Hugging Face folder, or Hugging Face id (`org/name`)
    ///
    /// Only the heads of files are read. A model of the hub that is not on the disk is fetched whole.
    #[arg(short, long, value_name = "MODEL", help_heading = "Model")]
    pub model: String,
    /// Tokens of prompt and answer together; the default is the model's own context
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Prompt")]
    pub context: Option<usize>,
    /// Memory of a GPU to fit into, like 24G, in place of this machine's; it need not be there
    ///
    /// All of it is taken to be free: the driver takes some hundred megabytes, a screen more.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Model")]
    pub device_memory: Option<u64>,
    /// Prefill attention
    #[arg(long, default_value = "auto", value_name = "MODE", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: AttentionMode,
    /// Prompt tokens that go through the layers together; the default suits the device (4096 on a CPU)
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Model")]
    pub chunk_tokens: Option<usize>,
    /// Read prompts beyond the model's context, like yarn:4
    #[arg(long, value_name = "KIND:FACTOR", help_heading = "Model")]
    pub rope_scaling: Option<StretchContext>,
    /// Random weights: the model is a config.json, or a folder with one
    #[arg(
        long,
        value_name = "KIND",
        num_args = 0..=1,
        default_missing_value = "bf16",
        value_parser = choices::random_weights(),
        help_heading = "Model"
    )]
    pub random_weights: Option<RandomWeights>,
    /// Round the weights of layers, and what they are multiplied with (GPUs)
    #[arg(
        long,
        value_name = "KIND",
        value_parser = choices::quantization(),
        requires = "device_memory",
        help_heading = "Model"
    )]
    pub quantization: Option<Quantization>,
    /// In what the attention of prompts multiplies (GPUs) [default: bf16]
    #[arg(
        long,
        value_name = "KIND",
        value_parser = choices::precision(),
        requires = "device_memory",
        help_heading = "Model"
    )]
    pub attention_precision: Option<AttentionPrecision>,
    /// Fit into this much memory, where less than the device has free may be taken
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Model")]
    pub max_memory: Option<u64>,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Fit {
    /// Where the model is supposed to run.
    pub fn place(&self) -> Place {
        self.device_memory.map_or(Place::Cpu, |memory_bytes| Place::Gpu { memory_bytes })
    }

    /// As the engine would be asked.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            chunk_tokens: self.chunk_tokens,
            stretch: self.rope_scaling,
            context: self.context,
            random_weights: self.random_weights,
            quantization: self.quantization,
            attention_precision: self.attention_precision.unwrap_or_default(),
            max_memory_bytes: self.max_memory,
            ..EngineOptions::default()
        }
    }
}
