//! Flags of `eval ruler`.

use super::numbers::{at_least_one, whole};
use super::{GoalArguments, ModelArguments, choices};
use clap::Args;
use eval::tasks::ruler::Task;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Example:
  scripts/fetch-ruler-texts ruler-texts
  sparse-accelerate eval ruler --model model.gguf --sources ruler-texts --lengths 4096,8192 --samples 25 --json ruler.json

Without --sources those tasks run that need no texts: niah_multikey_3, vt and fwe.")]
pub struct EvalRuler {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Tasks; all of them unless given
    #[arg(long, value_delimiter = ',', value_name = "TASK,..", value_parser = choices::ruler_task())]
    pub tasks: Vec<Task>,
    /// Folder of the texts, which scripts/fetch-ruler-texts fills
    #[arg(long, value_name = "DIR")]
    pub sources: Option<PathBuf>,
    /// Lengths in tokens, prompt and answer together
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Prompts of each task and length
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = at_least_one)]
    pub samples: usize,
    /// Ask without the model's chat template, which is taken where there is one
    #[arg(long, help_heading = "Prompt")]
    pub plain: bool,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0, value_name = "S", value_parser = whole::<u64>)]
    pub seed: u64,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// Write rows, comparisons and samples to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}
