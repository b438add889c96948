//! Every flag, in one place.

mod bench;
mod bench_kernel;
mod chat;
mod eval_prompts;
mod eval_ruler;
mod inspect;
mod reproduce;
mod sampling;

use attention::shape::HeadShape;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use runtime::config::StretchContext;
use runtime::engine::EngineOptions;
use runtime::policy::AttentionPrecision;
use runtime::request::{AttentionMode, Device, Goal};
use runtime::weights::{Quantization, RandomWeights};
use std::fmt;
use std::path::PathBuf;

pub use bench::*;
pub use bench_kernel::BenchKernel;
pub use chat::Chat;
pub use eval_prompts::EvalPrompts;
pub use eval_ruler::EvalRuler;
pub use inspect::*;
pub use reproduce::*;
pub use sampling::SamplingArguments;

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

#[derive(Subcommand)]
pub enum Command {
    /// Complete a prompt
    Generate(Generate),
    /// Talk with a model, about long texts as well: what was read is not read again
    Chat(Chat),
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
    /// Find one pattern for each head on sample prompts, to run without searching; done on the host, slow on a GPU
    Search(Search),
    /// Measure what the parts of attention and search cost on this machine's CPU
    Calibrate(Calibrate),
    /// Answer a question about an 8,000-token text twice: dense, then sparse
    Demo(Demo),
    /// Say what this machine offers
    Doctor(Doctor),
    /// Print shell completions
    #[command(after_help = "Example:
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

#[derive(Subcommand)]
pub enum EvalCommand {
    /// The passkey task: a number hidden in filler text, at evenly spaced depths
    #[command(after_help = "Example:
  sparse-accelerate eval passkey --model model.gguf --lengths 2048,4096,8192 --samples 50 --json passkey.json")]
    Passkey(EvalRetrieval),
    /// The multi-key needle task: the number of one city among those of four, in filler text
    #[command(after_help = "Example:
  sparse-accelerate eval needle --model model.gguf --lengths 4096,8192 --samples 100 --json needle.json")]
    Needle(EvalRetrieval),
    /// RULER's thirteen tasks: needles, variable tracking, common and frequent words, questions about documents
    Ruler(EvalRuler),
    /// Negative log-likelihood of the end of long texts
    Perplexity(EvalPerplexity),
    /// Prompts of your own: are they answered right, and as dense attention answers them?
    Prompts(EvalPrompts),
    /// What each family and part of the patterns contributes, one left out at a time
    Ablation(EvalAblation),
}

/// Which model, and where it runs.
#[derive(Args)]
pub struct ModelArguments {
    /// GGUF file or any of its parts, Hugging Face folder or a `.safetensors` file of it, Ollama blob or manifest, or
    /// Hugging Face id (`org/name`, or `org/name:file.gguf`, of another revision `org/name@revision`)
    #[arg(short, long, value_name = "MODEL")]
    pub model: String,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: Device,
    /// Worker threads; 0 takes one for each core
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Prompt tokens that go through the layers together; the default suits the device (4096 on a CPU)
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub chunk_tokens: Option<usize>,
    /// Read prompts beyond the model's context: yarn:4, dynamic:2 or linear:2; its card says which it was made for
    #[arg(long, value_name = "KIND:FACTOR")]
    pub rope_scaling: Option<StretchContext>,
    /// Tokens of the context, prompt and answer together, where the model's files say it wrong
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub context: Option<usize>,
    /// Measure on random weights, bf16 or q4_0: the model is a config.json, or a folder with one
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "bf16")]
    pub random_weights: Option<RandomWeights>,
    /// Round the weights of layers, and what they are multiplied with, to 8-bit floats: fp8 (NVIDIA Hopper or newer). Half the
    /// memory, faster products; `eval` says what it costs in quality
    #[arg(long, value_name = "KIND")]
    pub quantization: Option<Quantization>,
    /// In what the attention of prompts multiplies on a GPU: bf16; int8 (scores in 8-bit integers; for cards before Hopper); or fp8
    /// (8-bit floats, Hopper). Both are faster there and a little less exact
    #[arg(long, value_name = "KIND", default_value = "bf16")]
    pub attention_precision: AttentionPrecision,
    /// Time matrix products and the stages of the search as well as attention (GPUs)
    #[arg(long)]
    pub profile: bool,
    /// Let the search reckon with the costs in this file, which `sparse-accelerate calibrate` wrote on this machine
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Refuse work that would take more memory, like 8G or 512M; the default is what the machine has free
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_memory: Option<u64>,
}

impl ModelArguments {
    /// As the engine wants them.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            device: self.device,
            threads: self.threads,
            chunk_tokens: self.chunk_tokens,
            stretch: self.rope_scaling,
            context: self.context,
            random_weights: self.random_weights,
            quantization: self.quantization,
            attention_precision: self.attention_precision,
            profile: self.profile,
            max_memory_bytes: self.max_memory,
        }
    }
}

/// What sparse prefill aims at.
#[derive(Args)]
pub struct GoalArguments {
    /// Attention mass that sparse prefill aims to keep in every head, above 0, at most 1 [default: 0.98]
    #[arg(long, value_name = "R", value_parser = share)]
    recall: Option<f32>,
    /// Keep as much as fits instead: `density=0.1` of all pairs, `cost=0.3` of dense attention's predicted time, or
    /// `time=500ms` for attention and search (needs --calibration on a CPU and on GPUs other than Hopper)
    #[arg(long, value_name = "KIND=SIZE", conflicts_with = "recall")]
    budget: Option<Goal>,
}

/// In words.
impl fmt::Display for GoalArguments {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.goal() {
            Goal::Recall(share) => write!(f, "a recall of {share}"),
            Goal::Density(share) => write!(f, "a density of {share}"),
            Goal::Cost(share) => write!(f, "{share} of dense attention's predicted time"),
            Goal::AttentionMs(ms) => write!(f, "{ms} ms of attention"),
        }
    }
}

impl GoalArguments {
    /// As a request wants it.
    pub fn goal(&self) -> Goal {
        self.budget.or(self.recall.map(Goal::Recall)).unwrap_or_default()
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  sparse-accelerate generate --model model.gguf --prompt \"The capital of France is\" --max-tokens 8
  sparse-accelerate generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt \"Who wrote Faust?\"
  cat report.txt question.txt | sparse-accelerate generate --model model.gguf --attention sparse --recall 0.98
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --budget density=0.1
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --json | jq .ttft_ms")]
pub struct Generate {
    #[command(flatten)]
    pub model: ModelArguments,
    /// The prompt; without --prompt and --prompt-file it is read from standard input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file")]
    pub prompt: Option<String>,
    /// Read the prompt from a UTF-8 file; one newline at its very end is not part of the prompt
    #[arg(short = 'f', long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Put the prompt into the model's chat template as the user's message; control tokens spelt out in it stay text
    #[arg(long)]
    pub chat: bool,
    /// New tokens at most; the default is 128, or what the context leaves if that is less
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub max_tokens: Option<usize>,
    /// End the answer where this text begins in it, without the text; may be given more than once
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Go on past the model's end tokens, up to --max-tokens or a stop text
    #[arg(long)]
    pub ignore_eos: bool,
    /// Prefill attention: auto (sparse where it pays and memory suffices), dense or sparse
    #[arg(long, default_value = "auto", value_name = "MODE")]
    pub attention: AttentionMode,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Compute densely every head that may drop more than this share of its attention mass, by proof (CPUs)
    #[arg(long, value_name = "G", value_parser = share)]
    pub guarantee: Option<f32>,
    /// Say what share of attention was kept, by exact random rows (of --seed) that took no part in choosing, with a 95% interval;
    /// --json has it by layer (CPUs)
    #[arg(long)]
    pub receipt: bool,
    /// Prefill by the patterns of a file instead of searching: our JSON, or MInference's; planned on the host, which is slow
    /// on a GPU
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attention", "recall", "budget", "guarantee"])]
    pub patterns: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// Print one JSON object instead of streaming text
    #[arg(long)]
    pub json: bool,
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
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Seed of the hidden numbers
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long)]
    pub receipt: bool,
    /// Write rows, agreement and samples to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  sparse-accelerate explain --model model.gguf --prompt-file long.txt --layer 5
  sparse-accelerate explain --model model.gguf --prompt-file long.txt --json | jq '.layers[].heads[].pattern' | sort | uniq -c")]
pub struct Explain {
    #[command(flatten)]
    pub model: ModelArguments,
    /// The prompt; without --prompt and --prompt-file it is read from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    pub prompt: Option<String>,
    /// Read the prompt from a UTF-8 file
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Show one layer only
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    /// Show all chunks of the prompt, not only the last
    #[arg(long)]
    pub all_chunks: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  sparse-accelerate search --model model.gguf --prompts report.txt,code.txt --budget cost=0.3 --out patterns.json
  sparse-accelerate generate --model model.gguf --prompt-file other.txt --patterns patterns.json")]
pub struct Search {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Sample prompts: UTF-8 text files, or .jsonl files with `{"prompt": "..."}` on each line
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true)]
    pub prompts: Vec<PathBuf>,
    /// Cut longer prompts
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_prompt_tokens: Option<usize>,
    /// What each head may spend: `density=0.1`, `cost=0.3`, or `time=500ms` for the longest prompt
    #[arg(long, value_name = "KIND=SIZE", default_value = "cost=0.3")]
    pub budget: Goal,
    /// Write the patterns to a file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write every candidate of every head to a file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:
  sparse-accelerate eval perplexity --model model.gguf --texts prose.txt,code.txt --lengths 4096,8192 --json perplexity.json")]
pub struct EvalPerplexity {
    #[command(flatten)]
    pub model: ModelArguments,
    /// UTF-8 files; each is cut to the lengths
    #[arg(long, value_delimiter = ',', value_name = "FILE,..", required = true)]
    pub texts: Vec<PathBuf>,
    /// Lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Rate so many tokens at the end
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = at_least_one)]
    pub tail: usize,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Say of every text what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long)]
    pub receipt: bool,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:
  sparse-accelerate calibrate --out calibration.json
  sparse-accelerate calibrate --device cuda:0 --head-dim 128 --heads 32,8 --out calibration.json
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --calibration calibration.json")]
pub struct Calibrate {
    /// What to measure: cpu, auto, cuda or cuda:N; costs of other devices stay in the file
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: Device,
    /// Query heads and kv heads of a layer (GPUs) [default: 32,8]
    #[arg(long, value_name = "Q,KV", value_parser = head_counts)]
    pub heads: Option<(usize, usize)>,
    /// Head sizes to measure
    #[arg(long, value_delimiter = ',', default_value = "64,128", value_name = "D,..", value_parser = at_least_one)]
    pub head_dim: Vec<usize>,
    /// Worker threads; 0 takes one for each core (CPUs)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Write the calibration to a file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Demo {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Prompt length in tokens
    #[arg(long, default_value_t = 8000, value_name = "L")]
    pub length: usize,
    #[command(flatten)]
    pub goal: GoalArguments,
}

#[derive(Args)]
pub struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Query heads and kv heads, like `32,8`.
fn head_counts(text: &str) -> Result<(usize, usize), String> {
    let counts = text.split_once(',').and_then(|(q, kv)| Some((q.trim().parse().ok()?, kv.trim().parse().ok()?)));
    let (q, kv) = counts.ok_or_else(|| format!("expected query heads and kv heads like 32,8, found `{text}`"))?;
    // No layer has more, and sizes of buffers can be counted.
    if !(1..=1024).contains(&q) {
        return Err(format!("expected 1 to 1024 query heads, found {q}"));
    }
    HeadShape::new(q, kv, 64).map(|_| (q, kv)).map_err(|error| error.to_string())
}

/// A recall target or a share of probability.
fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".into()),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(temperature) if temperature >= 0.0 && temperature.is_finite() => Ok(temperature),
        _ => Err("expected 0 or a number above it".into()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number above 0".into()),
    }
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= eval::LEAST_ROUNDS => Ok(n),
        _ => Err(format!("expected a whole number of at least {}, for an interval", eval::LEAST_ROUNDS)),
    }
}

/// `8G`, `512M`, `1.5GiB`, `1000000`: binary units.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory; write it like 8G or 512M");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * (1u64 << shift) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_default_recall_is_what_the_help_says() {
        assert_eq!(Goal::default(), Goal::Recall(0.98));
    }

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(bytes("512MB"), Ok(512 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        for wrong in ["", "G", "8X", "-1G", "1..2G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
