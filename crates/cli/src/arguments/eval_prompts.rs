//! Flags of `eval prompts`.

use super::numbers::at_least_one;
use super::{GoalArguments, ModelArguments, choices};
use clap::Args;
use eval::tasks::Match;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate eval prompts --model model.gguf --prompts mine.jsonl --json mine.json

Each line of the file is a prompt to complete, or messages for the model's chat template, with right answers where you know them:
  {\"prompt\": \"The capital of France is\", \"answers\": [\"Paris\"]}
  {\"messages\": [{\"role\": \"user\", \"content\": \"Summarise: ...\"}]}")]
pub struct EvalPrompts {
    #[command(flatten)]
    pub model: ModelArguments,
    /// JSON lines with `prompt` or `messages`, and `answers` where they are known
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub prompts: PathBuf,
    /// What makes an answer right; case and white space do not count
    #[arg(long = "match", value_name = "KIND", default_value = "contains", value_parser = choices::matching())]
    pub matching: Match,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// New tokens an answer may take
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one, help_heading = "Output")]
    pub max_tokens: usize,
    /// Write rows, agreement and samples to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}
