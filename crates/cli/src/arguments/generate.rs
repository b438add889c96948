//! Flags of `generate`.

use super::numbers::{at_least_one, share};
use super::{GoalArguments, ModelArguments, SamplingArguments, choices};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate generate --model model.gguf --prompt \"The capital of France is\" --max-tokens 8
  sparse-accelerate generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt \"Who wrote Faust?\"
  sparse-accelerate generate --model model.gguf --chat --system \"Answer in a word.\" --prompt \"Who wrote Faust?\"
  echo '[{\"role\": \"user\", \"content\": \"Hello\"}]' | sparse-accelerate generate --model model.gguf --messages -
  cat report.txt question.txt | sparse-accelerate generate --model model.gguf --attention sparse --recall 0.98
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --budget density=0.1
  sparse-accelerate generate --model model.gguf --prompt-file long.txt --json | jq .ttft_ms")]
pub struct Generate {
    #[command(flatten)]
    pub model: ModelArguments,
    /// The prompt; without any it is read from standard input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file", help_heading = "Prompt")]
    pub prompt: Option<String>,
    /// Read the prompt from a UTF-8 file
    ///
    /// One newline at its very end is not part of the prompt.
    #[arg(short = 'f', long, value_name = "FILE", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,
    /// Put the prompt into the model's chat template, as the user's message
    ///
    /// Control tokens spelt out in it stay text.
    #[arg(long, help_heading = "Prompt")]
    pub chat: bool,
    /// With --chat, what the model is told about its part
    #[arg(long, value_name = "TEXT", requires = "chat", help_heading = "Prompt")]
    pub system: Option<String>,
    /// Read a chat in place of a prompt: JSON, `-` for standard input
    ///
    /// An array of `{"role": "user", "content": "..."}`, as /save of `chat` writes it; the answer is the assistant's next.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompt", "prompt_file", "chat", "system"],
        help_heading = "Prompt"
    )]
    pub messages: Option<PathBuf>,
    /// Prefill attention
    #[arg(long, default_value = "auto", value_name = "MODE", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: AttentionMode,
    #[command(flatten)]
    pub goal: GoalArguments,
    /// Compute densely every head that may drop more than this share of its attention mass, by proof (CPUs)
    #[arg(long, value_name = "G", value_parser = share, hide_short_help = true, help_heading = "Attention")]
    pub guarantee: Option<f32>,
    /// Say what share of attention was kept, measured on random rows (CPUs)
    ///
    /// By exact rows (of --seed) that took no part in choosing, with a 95% interval; --json has it by layer.
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// Prefill by the patterns of a file instead of searching
    ///
    /// Our JSON, or MInference's; planned on the host, which is slow on a GPU.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["attention", "recall", "budget", "guarantee"],
        hide_short_help = true,
        help_heading = "Attention"
    )]
    pub patterns: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// New tokens at most
    ///
    /// The default is 128, or what the context leaves if that is less.
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one, help_heading = "Output")]
    pub max_tokens: Option<usize>,
    /// End the answer where this text begins in it
    ///
    /// Without the text; may be given more than once.
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = NonEmptyStringValueParser::new(),
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pub stop: Vec<String>,
    /// Answer with JSON that the schema of this file allows
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Output")]
    pub json_schema: Option<PathBuf>,
    /// Go on past the model's end tokens, up to --max-tokens or a stop text
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub ignore_eos: bool,
    /// Print one JSON object instead of streaming text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
