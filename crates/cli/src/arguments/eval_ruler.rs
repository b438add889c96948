//! Flags of `eval ruler`.

use super::{GoalArguments, ModelArguments, at_least_one};
use clap::Args;
use eval::tasks::ruler::Task;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:
  scripts/fetch-ruler-texts ruler-texts
  sparse-accelerate eval ruler --model model.gguf --sources ruler-texts --lengths 4096,8192 --samples 25 --json ruler.json

Tasks: niah_single_1, niah_single_2, niah_single_3, niah_multikey_1, niah_multikey_2, niah_multikey_3, niah_multivalue,
niah_multiquery (needles), vt (variable tracking), cwe (common words), fwe (frequent words), qa_1 (SQuAD), qa_2 (HotpotQA).
Without --sources those run that need no texts: niah_multikey_3, vt and fwe.")]
pub struct EvalRuler {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Tasks, by RULER's names; all of them unless given
    #[arg(long, value_delimiter = ',', value_name = "TASK,..")]
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
    #[arg(long)]
    pub plain: bool,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long)]
    pub receipt: bool,
    /// Write rows, comparisons and samples to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
