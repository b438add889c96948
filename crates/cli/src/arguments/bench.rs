//! Flags of `bench`.

use super::bench_kernel::BenchKernel;
use super::numbers::{at_least_one, rounds, share, whole};
use super::{GoalArguments, ModelArguments, choices};
use clap::{Args, Subcommand};
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Time to first token over prompt lengths, attention modes interleaved
    Ttft(BenchTtft),
    /// From which prompt length on sparse attention is faster than dense
    Crossover(BenchCrossover),
    /// What the default attention mode costs prompts too short to gain from it
    Overhead(BenchOverhead),
    /// How fast time to first token grows with the prompt, and what the stages of the search take
    Growth(BenchGrowth),
    /// Peak memory over prompt lengths, predicted and measured, each point in a process of its own
    Memory(BenchMemory),
    /// Whether plans keep the attention that the search says they keep: estimated against exact recall of every head, counted on the host
    Recall(BenchRecall),
    /// What each way to choose blocks and columns keeps for the pairs it computes, found by the CPU on any device
    Selectors(BenchSelectors),
    /// How long the kernels of attention take on a GPU, dense, sparse, search and decoding, and how fast they are
    Kernel(BenchKernel),
}

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate bench ttft --model model.gguf --lengths 512,2048,8192 --attention dense,sparse --runs 5 --json ttft.json
  sparse-accelerate bench ttft --model model.gguf --lengths 16384,32768 --text report.txt")]
pub struct BenchTtft {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "512,2048,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Time prompts cut from the beginning of this text instead of filler, of which models attend to more
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub text: Option<PathBuf>,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    /// Rounds; each runs every length with every mode
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    pub runs: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate bench selectors --model model.gguf --texts prose.txt,code.txt --lengths 4096,8192 --json selectors.json")]
pub struct BenchSelectors {
    #[command(flatten)]
    pub model: ModelArguments,
    /// UTF-8 files; prompts are cut from their beginnings
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true, help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Recall targets, reached by a threshold of each head
    #[arg(long, value_delimiter = ',', default_value = "0.8,0.9,0.95", value_name = "R,..", value_parser = share)]
    pub recalls: Vec<f32>,
    /// Look at every so many layers
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = at_least_one)]
    pub layer_step: usize,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate bench recall --model model.gguf --texts prose.txt,code.txt --lengths 4096 --recalls 0.98 --json recall.json")]
pub struct BenchRecall {
    #[command(flatten)]
    pub model: ModelArguments,
    /// UTF-8 files; prompts are cut from their beginnings
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true, help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Recalls to aim at
    #[arg(long, value_delimiter = ',', default_value = "0.98", value_name = "R,..", value_parser = share)]
    pub recalls: Vec<f32>,
    /// Look at every so many layers
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = at_least_one)]
    pub layer_step: usize,
    /// Times that each prefill is timed, beside the one that is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = whole::<usize>)]
    pub runs: usize,
    /// Draw so many receipts (`generate --receipt`) of each prompt, and say how many hold what is kept
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = whole::<usize>)]
    pub receipts: usize,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate bench crossover --model model.gguf --to 8192 --json crossover.json
  sparse-accelerate bench crossover --model model.gguf --from 1024 --to 32768 --runs 9 --gain 0")]
pub struct BenchCrossover {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Shortest prompt, in tokens
    #[arg(long, default_value_t = 256, value_name = "L", value_parser = at_least_one)]
    pub from: usize,
    /// Longest prompt; the default is the model's context, 32768 at most
    #[arg(long, value_name = "L", value_parser = at_least_one)]
    pub to: Option<usize>,
    /// Time prompts cut from the beginning of this text instead of filler, of which models attend to more
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub text: Option<PathBuf>,
    /// Lengths tried between the two that hold the answer between them
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = whole::<usize>)]
    pub refinements: usize,
    /// Rounds at each length
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = rounds)]
    pub runs: usize,
    /// Share of dense's time that sparse must save to count as faster; below the noise of the machine, noise decides
    /// where both run the same code
    #[arg(long, default_value_t = 0.02, value_name = "G", value_parser = gain)]
    pub gain: f64,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the answer and the times to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate bench overhead --model model.gguf --lengths 1,16,64,100 --runs 100 --json overhead.json")]
pub struct BenchOverhead {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,100", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Rounds; each runs every length with both modes
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = rounds)]
    pub runs: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate bench growth --model model.gguf --lengths 1024,2048,4096,8192 --runs 5 --json growth.json")]
pub struct BenchGrowth {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt lengths in tokens, at least two
    #[arg(long, value_delimiter = ',', default_value = "1024,2048,4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    /// Rounds; each runs every length with every mode
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = rounds)]
    pub runs: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate bench memory --model model.gguf --lengths 1024,8192 --json memory.json")]
pub struct BenchMemory {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "1024,2048,4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Write the points to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Measure this length and mode alone, in this process, and print the point as JSON: what the command starts for each
    #[arg(long, hide = true, value_name = "L:MODE", value_parser = point)]
    pub one_point: Option<(usize, AttentionMode)>,
}

fn point(text: &str) -> Result<(usize, AttentionMode), String> {
    let (length, mode) = text.split_once(':').ok_or("expected a length and a mode, like 8192:dense")?;
    Ok((at_least_one(length)?, choices::mode_named(mode)?))
}

fn gain(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(gain) if (0.0..1.0).contains(&gain) => Ok(gain),
        _ => Err("expected a share of at least 0, below 1".into()),
    }
}
