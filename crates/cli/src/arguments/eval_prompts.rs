//! Flags of `eval prompts`.

use super::{GoalArguments, ModelArguments, at_least_one};
use clap::Args;
use eval::tasks::Match;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:
  sparse-accelerate eval prompts --model model.gguf --prompts mine.jsonl --json mine.json

Each line of the file is a prompt to complete, or messages for the model's chat template, with right answers where you know them:
  {\"prompt\": \"The capital of France is\", \"answers\": [\"Paris\"]}
  {\"messages\": [{\"role\": \"user\", \"content\": \"Summarise: ...\"}]}")]
pub struct EvalPrompts {
    #[command(flatten)]
    pub model: ModelArguments,
    /// JSON lines with `prompt` or `messages`, and `answers` where they are known
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// What makes an answer right: contains (a right answer stands in it) or exact (it is one); case and white space do not count
    #[arg(long = "match", value_name = "KIND", default_value = "contains")]
    pub matching: Match,
    /// New tokens an answer may take
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one)]
    pub max_tokens: usize,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long)]
    pub receipt: bool,
    /// Write rows, agreement and samples to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
