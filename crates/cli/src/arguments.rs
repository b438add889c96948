//! Every flag, in one place.

mod bench;
mod bench_kernel;
mod chat;
pub mod choices;
pub mod config;
mod eval;
mod eval_everyday;
mod eval_prompts;
mod eval_ruler;
mod exercises;
mod fit;
mod generate;
#[cfg(test)]
mod help_tests;
mod inspect;
mod model;
mod numbers;
mod reproduce;
mod sampling;
mod serve;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use numbers::{at_least_one, head_counts, threads, whole};
use runtime::precision::AttentionPrecision;
use runtime::request::{Device, Goal};
use std::ffi::OsString;
use std::path::PathBuf;

pub use bench::*;
pub use bench_kernel::BenchKernel;
pub use chat::Chat;
pub use choices::LogFormat;
pub use eval::{EvalCommand, EvalPerplexity, EvalRetrieval};
pub use eval_everyday::EvalEveryday;
pub use eval_prompts::EvalPrompts;
pub use eval_ruler::EvalRuler;
pub use exercises::ExerciseArguments;
pub use fit::Fit;
pub use generate::Generate;
pub use inspect::*;
pub use model::{GoalArguments, GoalsArguments, ModelArguments};
pub use reproduce::*;
pub use sampling::SamplingArguments;
pub use serve::Serve;

/// Long prompts start sooner: dynamic sparse prefill attention for open language models.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  sparse-accelerate generate --model models/SmolLM2-135M-Instruct.Q4_1.gguf --prompt \"The capital of France is\"
  sparse-accelerate bench ttft --model models/SmolLM2-135M-Instruct.Q4_1.gguf --lengths 512,2048,8192
  sparse-accelerate doctor"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Those of this process; ends it where they are wrong or ask for help.
    pub fn of_process() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        let matches = config::matches(command(), &words);
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit())
    }
}

/// The program's command. A number below 0 behind a flag is its value, for the flag to refuse by its range.
pub fn command() -> clap::Command {
    with_negative_numbers(config::with_environment(Arguments::command()))
}

fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |flag: &clap::Arg| !flag.is_positional() && flag.get_action().takes_values();
    command
        .mut_args(|flag| if takes_value(&flag) { flag.allow_negative_numbers(true) } else { flag })
        .mut_subcommands(with_negative_numbers)
}

#[derive(Subcommand)]
pub enum Command {
    /// Complete a prompt
    Generate(Generate),
    /// Talk with a model, about long texts as well: what was read is not read again
    Chat(Chat),
    /// Say whether a model and a context fit into memory, here or on a GPU, without loading anything
    Fit(Fit),
    /// Answer requests over HTTP, as OpenAI's API has them
    Serve(Serve),
    /// Measure speed
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Measure quality, sparse paired with dense
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Show which pattern each head of each layer gets for a prompt, and what else was considered
    Explain(Explain),
    /// Draw what heads attend to and what their plans keep of it: a page to browse, and a picture of each head; the CPU looks
    Inspect(Inspect),
    /// Answer the paper's experiments and open questions for a model on this machine: a report, and every number behind it
    Reproduce(Reproduce),
    /// Lay reproductions of several devices, goals or versions side by side
    Compare(Compare),
    /// Find one pattern for each head on sample prompts, to run without searching; done on the host, slow on a GPU
    Search(Search),
    /// Measure what the parts of attention and search cost on this machine's CPU
    Calibrate(Calibrate),
    /// Answer a question about an 8,000-token text twice: dense, then sparse
    Demo(Demo),
    /// Say what this machine offers
    Doctor(Doctor),
    /// Print shell completions
    #[command(after_long_help = "Example:
  sparse-accelerate completions bash > ~/.local/share/bash-completion/completions/sparse-accelerate")]
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    #[command(hide = true)]
    Man {
        /// Folder for them; made if it is not there
        folder: PathBuf,
    },
}

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate explain --model model.gguf --prompt-file long.txt --layer 5
  sparse-accelerate explain --model model.gguf --prompt-file long.txt --json | jq '.layers[].heads[].pattern' | sort | uniq -c")]
pub struct Explain {
    #[command(flatten)]
    pub model: ModelArguments,
    /// The prompt; without --prompt and --prompt-file it is read from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", help_heading = "Prompt")]
    pub prompt: Option<String>,
    /// Read the prompt from a UTF-8 file
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Show one layer only
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub layer: Option<usize>,
    /// Show all chunks of the prompt, not only the last
    #[arg(long)]
    pub all_chunks: bool,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate search --model model.gguf --prompts report.txt,code.txt --budget cost=0.3 --out patterns.json
  sparse-accelerate generate --model model.gguf --prompt-file other.txt --patterns patterns.json")]
pub struct Search {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Sample prompts: UTF-8 text files, or .jsonl files with `{"prompt": "..."}` on each line
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true, help_heading = "Prompt")]
    pub prompts: Vec<PathBuf>,
    /// Cut longer prompts
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Prompt")]
    pub max_prompt_tokens: Option<usize>,
    /// What each head may spend: `density=0.1`, `cost=0.3`, or `time=500ms` for the longest prompt
    #[arg(long, value_name = "KIND=SIZE", default_value = "cost=0.3", help_heading = "Attention")]
    pub budget: Goal,
    /// Write the patterns to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: PathBuf,
    /// Write every candidate of every head to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate calibrate --out calibration.json
  sparse-accelerate calibrate --device cuda:0 --head-dim 128 --heads 32,8 --out calibration.json
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --calibration calibration.json")]
pub struct Calibrate {
    /// What to measure; costs of other devices stay in the file
    #[arg(long, default_value = "cpu", value_name = "DEVICE", value_parser = choices::device(), help_heading = "Model")]
    pub device: Device,
    /// Query heads and kv heads of a layer (GPUs) [default: 32,8]
    #[arg(long, value_name = "Q,KV", value_parser = head_counts)]
    pub heads: Option<(usize, usize)>,
    /// In what attention multiplies (GPUs)
    #[arg(long, value_name = "KIND", default_value = "bf16", value_parser = choices::precision(), help_heading = "Model")]
    pub attention_precision: AttentionPrecision,
    /// Head sizes to measure
    #[arg(long, value_delimiter = ',', default_value = "64,128", value_name = "D,..", value_parser = at_least_one)]
    pub head_dim: Vec<usize>,
    /// Worker threads; 0 takes one for each core (CPUs)
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = threads, help_heading = "Model")]
    pub threads: usize,
    /// Write the calibration to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Demo {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt length in tokens
    #[arg(long, default_value_t = 8000, value_name = "L", value_parser = whole::<usize>)]
    pub length: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
}

#[derive(Args)]
pub struct Doctor {
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_typo_is_answered_by_what_was_meant() {
        let refused = |words: &str| {
            let words = ["sparse-accelerate"].into_iter().chain(words.split(' '));
            command().try_get_matches_from(words).expect_err("refused").to_string()
        };
        for (words, says) in [
            ("generate -m x --attention sparze", "similar value exists: 'sparse'"),
            ("generate -m x --device cuba", "similar value exists: 'cuda'"),
            ("generate -m x --device cuda:x", "cuda:N"),
            ("generate -m x --device cuda:N", "index of a GPU"),
            ("generate -m x --quantization fp9", "similar value exists: 'fp8'"),
            ("generate -m x --attention-precision int9", "similar value exists: 'int8'"),
            ("generate -m x --random-weights q4", "similar value exists: 'q4_0'"),
            ("generate -m x --rope-scaling yran:4", "yarn:4, dynamic:2 or linear:2"),
            ("generate -m x --budget densty=0.1", "density=0.1, cost=0.3"),
            ("generate -m x --temprature 1", "similar argument exists: '--temperature'"),
            ("bench ttft -m x --attention dense,sparce", "similar value exists: 'sparse'"),
            ("bench kernel --kernel sm8", "similar value exists: 'sm80'"),
            ("bench kernel --what dense,serch", "similar value exists: 'search'"),
            ("eval prompts -m x --prompts y --match contain", "similar value exists: 'contains'"),
            ("inspect -m x --out y --pool maen", "similar value exists: 'mean'"),
            ("reproduce --model x --out y --device cpus", "similar value exists: 'cpu'"),
            ("completions bsh", "similar value exists: 'bash'"),
        ] {
            let message = refused(words);
            assert!(message.contains(says), "{words}: expected `{says}` in {message}");
        }
        for (words, says) in [
            ("generate -m x --temperature -1", "0 or a number above"),
            ("generate -m x --seed -1", "at least 0"),
            ("generate -m x --top-k -5", "at least 0"),
            ("generate -m x --max-tokens -5", "above 0"),
            ("generate -m x --threads -2", "at least 0"),
            ("generate -m x --recall -0.5", "above 0, at most 1"),
            ("bench crossover -m x --gain -1", "at least 0, below 1"),
            ("bench kernel --columns -1", "at least 0"),
        ] {
            let message = refused(words);
            assert!(message.contains("invalid value '-") && message.contains(says), "{words}: {message}");
        }
    }
}
