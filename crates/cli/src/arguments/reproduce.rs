//! Flags of `reproduce`.

use super::numbers::{at_least_one, threads};
use super::{GoalArguments, choices};
use clap::Args;
use runtime::request::Device;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate reproduce --model model.gguf --texts prose.txt,code.txt --out report --quick
  sparse-accelerate reproduce --model Qwen/Qwen2.5-0.5B-Instruct --texts prose.txt --to 32768 --out report
  sparse-accelerate reproduce --model model.gguf --device cuda --recall 0.9 --out report-cuda-0.9

Then open report/index.html. Started again after an interruption, it goes on where it was.")]
pub struct Reproduce {
    /// GGUF file, Hugging Face folder, or Hugging Face id
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub model: String,
    /// Where the model runs
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = choices::device(), help_heading = "Model")]
    pub device: Device,
    /// Worker threads; 0 takes one for each core
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = threads, help_heading = "Model")]
    pub threads: usize,
    /// Long UTF-8 texts, for the likelihood of real text and the study of patterns; without them those steps are left out
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    /// Longest prompt, in tokens [default: the model's context, at most 8192]
    #[arg(long, value_name = "L", value_parser = at_least_one)]
    pub to: Option<usize>,
    /// Fewer rounds, samples and lengths: intervals are wide, and a small model takes minutes
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Folder for the report and the result files; made if it is not there
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub out: PathBuf,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate reproduce --model model.gguf --device cpu --out report-cpu
  sparse-accelerate reproduce --model model.gguf --device cuda --out report-cuda
  sparse-accelerate compare report-cpu report-cuda --out side-by-side")]
pub struct Compare {
    /// Folders that `reproduce` wrote; a letter each, from A
    #[arg(required = true, num_args = 2..=26, value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// Folder for the page and its Markdown; made if it is not there
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub out: PathBuf,
}
