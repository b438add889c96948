//! Flags of the commands that look into heads: `inspect` and `eval ablation`.

use super::numbers::{at_least_one, whole};
use super::{GoalArguments, ModelArguments, choices};
use clap::Args;
use eval::inspect::Pool;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate inspect --model model.gguf --prompt-file long.txt --out pictures
  sparse-accelerate inspect --model model.gguf --prompt-file long.txt --layers 0,5 --heads 0,3 --out pictures")]
pub struct Inspect {
    #[command(flatten)]
    pub model: ModelArguments,
    /// The prompt; without --prompt and --prompt-file it is read from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", help_heading = "Prompt")]
    pub prompt: Option<String>,
    /// Read the prompt from a UTF-8 file
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,
    /// Cut a longer prompt
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Prompt")]
    pub max_prompt_tokens: Option<usize>,
    /// Layers to draw [default: four, evenly spread]
    #[arg(long, value_delimiter = ',', value_name = "N,..", value_parser = whole::<usize>)]
    pub layers: Vec<usize>,
    /// Query heads to draw [default: all]
    #[arg(long, value_delimiter = ',', value_name = "N,..", value_parser = whole::<usize>)]
    pub heads: Vec<usize>,
    /// What a dot shows of its queries and keys
    #[arg(long, default_value = "max", value_name = "POOL", value_parser = choices::pool())]
    pub pool: Pool,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Folder for index.html, a picture of each head and inspect.json; made if it is not there
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub out: PathBuf,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate eval ablation --model model.gguf --texts prose.txt,code.txt --lengths 4096 --json ablation.json --html ablation.html")]
pub struct EvalAblation {
    #[command(flatten)]
    pub model: ModelArguments,
    /// UTF-8 files; each is cut to the lengths
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true, help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    /// Lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Rate the likelihood of so many tokens at the end
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = at_least_one)]
    pub tail: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the rows, and the choice of every head, to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write a page with the rows, and the choice of every head as a picture
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}
