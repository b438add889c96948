//! What a caller asks of the engine, and what it gets back.

use crate::constraint::CompiledConstraint;
use crate::log_probabilities::SaidToken;
use crate::receipt::Receipt;
use crate::sampling::Sampling;
use attention::search::StageTimes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// Which attention the prefill uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionMode {
    /// Sparse where the search expects it to pay, dense where it does not: the same engine path as [`Sparse`], which
    /// already falls back head by head. Dense too where memory suffices for that alone. The default.
    ///
    /// [`Sparse`]: AttentionMode::Sparse
    #[default]
    Auto,
    /// Every (query, key) pair.
    Dense,
    /// The cheapest pattern of each head that meets the recall target.
    Sparse,
}

impl AttentionMode {
    /// As it is written, in results too.
    pub const fn name(self) -> &'static str {
        match self {
            AttentionMode::Auto => "auto",
            AttentionMode::Dense => "dense",
            AttentionMode::Sparse => "sparse",
        }
    }
}

impl fmt::Display for AttentionMode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first GPU if there is one that runs the model, else the CPU.
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

/// Attention mass that the search aims to keep unless told otherwise. The negative log-likelihood of the ends of six long texts
/// is then 0.3% above dense attention's in the mean, within 1% on each (`docs/reproduce.md`).
pub const DEFAULT_RECALL: f32 = 0.98;

/// What sparse prefill aims at, in every head of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The cheapest pattern that keeps this share of the attention mass, above 0, at most 1.
    Recall(f32),
    /// The pattern that keeps most among those that compute at most this share of all pairs.
    Density(f32),
    /// The pattern that keeps most among those that take at most this share of dense attention's predicted time.
    Cost(f32),
    /// The patterns that keep most among those whose attention and search together take at most so many milliseconds,
    /// by prediction: needs costs measured on this machine ([`crate::engine::Engine::set_costs`]).
    AttentionMs(f64),
}

impl Default for Goal {
    fn default() -> Self {
        Goal::Recall(DEFAULT_RECALL)
    }
}

/// As it is read.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Goal::Recall(share) => write!(f, "recall={share}"),
            Goal::Density(share) => write!(f, "density={share}"),
            Goal::Cost(share) => write!(f, "cost={share}"),
            Goal::AttentionMs(ms) => write!(f, "time={ms}ms"),
        }
    }
}

/// Reads a budget: `density=0.1`, `cost=0.3`, `time=500ms` or `time=2s`.
impl FromStr for Goal {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("a budget is density=0.1, cost=0.3, time=500ms or time=2s, not `{s}`");
        let (kind, value) = s.split_once('=').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0).ok_or_else(wrong);
        let share = || match number(value)? {
            share if share <= 1.0 => Ok(share as f32),
            _ => Err(format!("a {kind} budget is a share of dense attention, at most 1, not `{value}`")),
        };
        match kind {
            "density" => Ok(Goal::Density(share()?)),
            "cost" => Ok(Goal::Cost(share()?)),
            "time" => match (value.strip_suffix("ms"), value.strip_suffix('s')) {
                (Some(ms), _) => Ok(Goal::AttentionMs(number(ms)?)),
                (None, Some(seconds)) => Ok(Goal::AttentionMs(1e3 * number(seconds)?)),
                (None, None) => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

/// One generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// Prefill attention.
    pub attention: AttentionMode,
    /// What the search aims at.
    pub goal: Goal,
    /// Compute densely every head that may drop more than this share of its attention mass, by proof; in (0, 1].
    pub guarantee: Option<f32>,
    /// Say what attention was kept ([`RunStats::receipt`]), by exact rows that are drawn with this seed; CPUs only.
    pub receipt: Option<u64>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Makes tokens less likely that the prompt or the answer holds already
    /// ([`Sampler::with_repetition_penalty`](crate::sampling::Sampler::with_repetition_penalty)); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logit of a token for each time that the answer holds it, -2 to 2; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Taken from the logit of a token that the answer holds, however often, -2 to 2; 0 changes nothing.
    pub presence_penalty: f32,
    /// Added to the logits of tokens, -100 to 100.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Say how likely the model found each token of the answer ([`Event::Token`], [`Generation::said_tokens`]), and so many of
    /// the most likely tokens in its place.
    pub log_probabilities: Option<usize>,
    /// Stop at the model's end-of-sequence tokens.
    pub stop_at_eos: bool,
    /// Stop where one of these texts begins in the answer, which is then without it; empty ones stop nothing. The text of a
    /// special token, which answers never hold, stops at that token.
    pub stop: Vec<String>,
    /// What the answer must look like ([`Engine::constrain`](crate::engine::Engine::constrain)); it then ends where it is whole,
    /// and at end tokens only where it may be.
    pub constraint: Option<CompiledConstraint>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            max_tokens: 128,
            attention: AttentionMode::Auto,
            goal: Goal::default(),
            guarantee: None,
            receipt: None,
            sampling: Sampling::Greedy,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            log_probabilities: None,
            stop_at_eos: true,
            stop: Vec::new(),
            constraint: None,
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
    /// A chunk of the prompt begins, and on CPUs, where that takes a while, each time that a layer is done with it; a GPU is asked
    /// for all layers at once.
    Layer {
        /// Layers done with the chunk; 0 when it begins.
        done_layers: usize,
        /// Layers of the model.
        layers: usize,
        /// Tokens of the prompt before the chunk.
        done_tokens: usize,
        /// Tokens of the chunk.
        chunk_tokens: usize,
    },
    /// One more of [`Generation::tokens`], as soon as it is chosen: its text comes next, later, or never.
    Chosen(u32),
    /// A token whose text comes next or, where a character takes several or the token has none, came before; only where
    /// [`Request::log_probabilities`] asks for it.
    Token(&'a SaidToken),
    /// More text; whole UTF-8 characters.
    Text(&'a str),
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so, by an end token.
    End,
    /// A stop text began.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// Whoever heard the events did not want more.
    Cancelled,
}

/// What hears of a generation, and says whether it goes on: [`ControlFlow::Break`] ends it, and nothing is heard from then on. A
/// chunk of the prompt that is under way ends with the layer on a CPU, and counts as not read; a GPU finishes it.
pub type Events<'a> = dyn FnMut(Event) -> ControlFlow<()> + Send + 'a;

/// A finished generation, or what there was of it when it was cancelled.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The new text, without special tokens.
    pub text: String,
    /// The new tokens, the end-of-sequence token not included. Where a stop text ended the answer, its tokens are included.
    pub tokens: Vec<u32>,
    /// How likely the model found the tokens of the text, those of a stop text not included; empty unless
    /// [`Request::log_probabilities`] asks for it.
    pub said_tokens: Vec<SaidToken>,
    /// Why there are no more.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub stats: RunStats,
}

/// Milliseconds of the stages of the search, all layers and heads together: of a CPU summed over threads, of a GPU as its
/// clock has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagesMs {
    /// Scores of (query tile, key block), on a GPU with the means of blocks.
    pub scores_ms: f64,
    /// Exact attention of the probe rows.
    pub probes_ms: f64,
    /// Recall and cost of every candidate.
    pub candidates_ms: f64,
    /// Choice, and lowering to a plan.
    pub lowering_ms: f64,
}

impl StagesMs {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.scores_ms + self.probes_ms + self.candidates_ms + self.lowering_ms
    }
}

impl From<StageTimes> for StagesMs {
    fn from(times: StageTimes) -> Self {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            scores_ms: ms(times.scores),
            probes_ms: ms(times.probes),
            candidates_ms: ms(times.candidates),
            lowering_ms: ms(times.lowering),
        }
    }
}

/// Cost and honesty of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were there already, from earlier turns of a
    /// [`Conversation`](crate::engine::Conversation).
    pub cached_tokens: usize,
    /// New tokens.
    pub generated_tokens: usize,
    /// How often it gave its pages to others and read them again later; see [`Service`](crate::engine::service::Service).
    pub preemptions: usize,
    /// Request accepted to first token, an end token included; nothing where the run ended before it.
    pub ttft_ms: Option<f64>,
    /// Prefill alone.
    pub prefill_ms: f64,
    /// Part of the prefill spent finding patterns (wall time).
    pub search_ms: f64,
    /// Its stages, where an online search was timed: always on a CPU, on a GPU with
    /// [`EngineOptions::profile`](crate::engine::EngineOptions::profile).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_stages: Option<StagesMs>,
    /// Part of the prefill spent executing attention plans (wall time).
    pub attention_ms: f64,
    /// Milliseconds of matrix products, where they were timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products_ms: Option<f64>,
    /// New tokens after the first, per second; 0 when there was only one.
    pub decode_tokens_per_s: f64,
    /// Computed (query, key) pairs / causal pairs over all layers and heads, counted from the plans; of the tokens that were not
    /// cached. 1 where nothing was computed.
    pub density: f64,
    /// Attention mass kept, estimated on probe rows of which a quarter proposed, mean over layers and heads weighted
    /// by their pairs; 1 when dense, nothing under patterns from a file, which estimate nothing.
    pub recall: Option<f64>,
    /// Attention's predicted time over that of dense attention, of the plans of an online search on a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_cost: Option<f64>,
    /// Upper bound of the attention mass dropped, mean as `recall`; nothing unless a guarantee was asked for.
    pub dropped_at_most: Option<f64>,
    /// Attention kept, of random rows that took no part in choosing; nothing unless [`Request::receipt`] asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Whether [`AttentionMode::Auto`] left the search out because memory suffices for dense attention alone.
    pub search_left_out: bool,
    /// Most memory that this run was predicted to hold before it began: weights, cache and scratch, on a CPU program and tokenizer, too.
    pub predicted_memory_bytes: u64,
    /// Most memory that was held on the device since the program began, or since
    /// [`Engine::forget_peak_memory`](crate::engine::Engine::forget_peak_memory), where it can be measured; of a CPU all that
    /// the process held, mapped files included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_memory_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_refused() {
        for (text, goal) in [
            ("density=0.1", Goal::Density(0.1)),
            ("cost=1", Goal::Cost(1.0)),
            ("time=500ms", Goal::AttentionMs(500.0)),
            ("time=1.5s", Goal::AttentionMs(1500.0)),
        ] {
            assert_eq!(text.parse(), Ok(goal));
        }
        for (text, says) in [
            ("0.1", "a budget is density=0.1"),
            ("density=0", "a budget is"),
            ("density=1.1", "at most 1, not `1.1`"),
            ("cost=NaN", "a budget is"),
            ("time=5", "time=500ms"),
            ("time=-1s", "a budget is"),
            ("speed=1", "a budget is"),
        ] {
            let message = text.parse::<Goal>().unwrap_err();
            assert!(message.contains(says), "{text}: {message}");
        }
    }
}
