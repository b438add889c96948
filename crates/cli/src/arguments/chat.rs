//! Flags of `chat`.

use super::numbers::at_least_one;
use super::{GoalArguments, ModelArguments, SamplingArguments, choices};
use clap::Args;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate chat --model model.gguf --file report.txt
  sparse-accelerate chat --model model.gguf --system \"Answer in one sentence.\"
  echo \"What is a red panda?\" | sparse-accelerate chat --model model.gguf

Lines that begin with / are commands: /attach FILE, /attention MODE, /stats, /save FILE, /reset, /help and /exit. Ctrl-C stops an answer,
Ctrl-D ends the program. A line that ends with \\ goes on.")]
pub struct Chat {
    #[command(flatten)]
    pub model: ModelArguments,
    /// What the model is told about its part
    #[arg(long, value_name = "TEXT", conflicts_with = "system_file", help_heading = "Prompt")]
    pub system: Option<String>,
    /// The same from a file
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub system_file: Option<PathBuf>,
    /// Put the text of a file before the first question; may be given more than once
    #[arg(short, long = "file", value_name = "FILE", help_heading = "Prompt")]
    pub files: Vec<PathBuf>,
    /// Attention of what is read
    #[arg(long, default_value = "auto", value_name = "MODE", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: AttentionMode,
    #[command(flatten)]
    pub goal: GoalArguments,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// New tokens of an answer at most; the default is what the context leaves
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one, help_heading = "Output")]
    pub max_tokens: Option<usize>,
}
