//! What a caller asks of the engine, and what it gets back.

use crate::sampling::Sampling;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which attention the prefill uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionMode {
    /// Sparse where the search expects it to pay, dense where it does not: the same engine path as [`Sparse`], which
    /// already falls back head by head. The default.
    ///
    /// [`Sparse`]: AttentionMode::Sparse
    #[default]
    Auto,
    /// Every (query, key) pair.
    Dense,
    /// The cheapest pattern of each head that meets the recall target.
    Sparse,
}

impl fmt::Display for AttentionMode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            AttentionMode::Auto => "auto",
            AttentionMode::Dense => "dense",
            AttentionMode::Sparse => "sparse",
        })
    }
}

impl FromStr for AttentionMode {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(AttentionMode::Auto),
            "dense" => Ok(AttentionMode::Dense),
            "sparse" => Ok(AttentionMode::Sparse),
            _ => Err(format!("attention is auto, dense or sparse, not `{s}`")),
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best device found; today the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU of this index.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Auto => f.pad("auto"),
            Device::Cpu => f.pad("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => s
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| format!("a device is auto, cpu, cuda or cuda:N, not `{s}`")),
        }
    }
}

/// Attention mass that the search keeps unless told otherwise: the negative log-likelihood of long texts then stays within
/// half a percent of dense attention's on the models we measured.
pub const DEFAULT_RECALL: f32 = 0.97;

/// One generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// Prefill attention.
    pub attention: AttentionMode,
    /// Attention mass the search aims to keep in every head, in (0, 1].
    pub recall: f32,
    /// Compute densely every head that may drop more than this share of its attention mass, by proof; in (0, 1].
    pub guarantee: Option<f32>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Stop at the model's end-of-sequence tokens.
    pub stop_at_eos: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            max_tokens: 128,
            attention: AttentionMode::Auto,
            recall: DEFAULT_RECALL,
            guarantee: None,
            sampling: Sampling::Greedy,
            stop_at_eos: true,
        }
    }
}

/// Progress of a generation, as it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// Prompt tokens whose keys and values are cached.
    Prefill {
        /// Tokens done.
        done_tokens: usize,
        /// Tokens of the prompt.
        total_tokens: usize,
    },
    /// More text; whole UTF-8 characters.
    Text(&'a str),
}

/// A finished generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The new text, without special tokens.
    pub text: String,
    /// The new tokens, the end-of-sequence token not included.
    pub tokens: Vec<u32>,
    /// What it cost.
    pub stats: RunStats,
}

/// Cost and honesty of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// New tokens.
    pub generated_tokens: usize,
    /// Request accepted to first token.
    pub ttft_ms: f64,
    /// Prefill alone.
    pub prefill_ms: f64,
    /// Part of the prefill spent finding patterns (wall time).
    pub search_ms: f64,
    /// Part of the prefill spent executing attention plans (wall time).
    pub attention_ms: f64,
    /// New tokens after the first, per second; 0 when there was only one.
    pub decode_tokens_per_s: f64,
    /// Computed (query, key) pairs / causal pairs over all layers and heads, counted from the plans.
    pub density: f64,
    /// Attention mass kept, estimated on probe rows the search did not choose by, mean over layers and heads weighted
    /// by their pairs; 1 when dense, not a number under patterns from a file, which estimate nothing.
    pub recall: f64,
    /// Upper bound of the attention mass dropped, mean as `recall`; nothing unless a guarantee was asked for.
    pub dropped_at_most: Option<f64>,
    /// Most memory this run held: weights, cache and scratch, as counted by the engine.
    pub peak_memory_bytes: u64,
}
