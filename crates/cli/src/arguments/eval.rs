//! Flags of `eval`.

use super::inspect::EvalAblation;
use super::numbers::{at_least_one, whole};
use super::{EvalEveryday, EvalPrompts, EvalRuler, GoalArguments, ModelArguments, choices};
use clap::{Args, Subcommand};
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum EvalCommand {
    /// The passkey task: a number hidden in filler text, at evenly spaced depths
    #[command(after_long_help = "Example:
  sparse-accelerate eval passkey --model model.gguf --lengths 2048,4096,8192 --samples 50 --json passkey.json")]
    Passkey(EvalRetrieval),
    /// The multi-key needle task: the number of one city among those of four, in filler text
    #[command(after_long_help = "Example:
  sparse-accelerate eval needle --model model.gguf --lengths 4096,8192 --samples 100 --json needle.json")]
    Needle(EvalRetrieval),
    /// RULER's thirteen tasks: needles, variable tracking, common and frequent words, questions about documents
    Ruler(EvalRuler),
    /// What users report broken: tool calls, quotations, facts from the middle or changed later, long answers
    Everyday(EvalEveryday),
    /// Negative log-likelihood of the end of long texts
    Perplexity(EvalPerplexity),
    /// Prompts of your own: are they answered right, and as dense attention answers them?
    Prompts(EvalPrompts),
    /// What each family and part of the patterns contributes, one left out at a time
    Ablation(EvalAblation),
}

#[derive(Args)]
pub struct EvalRetrieval {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt lengths in tokens; where prompt and answer would exceed the context, prompts are a few tokens shorter
    #[arg(long, value_delimiter = ',', default_value = "2048,4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Prompts of each length
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one)]
    pub samples: usize,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Seed of the hidden numbers
    #[arg(long, default_value_t = 0, value_name = "S", value_parser = whole::<u64>)]
    pub seed: u64,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// Write rows, agreement and samples to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate eval perplexity --model model.gguf --texts prose.txt,code.txt --lengths 4096,8192 --json perplexity.json")]
pub struct EvalPerplexity {
    #[command(flatten)]
    pub model: ModelArguments,
    /// UTF-8 files; each is cut to the lengths
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true, help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    /// Lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Rate so many tokens at the end
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = at_least_one)]
    pub tail: usize,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Say of every text what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}
