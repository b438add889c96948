//! Why the engine could not do what it was asked.

use super::Finding;
use crate::chat_template::TemplateError;
use crate::config::ConfigError;
use crate::constraint::ConstraintError;
use crate::memory::Bytes;
use crate::ops::OpsError;
use crate::sampling::SamplingError;
use crate::tokenizer::TokenizerError;
use crate::weights::LoadError;

/// What the engine refuses or cannot do; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A property of the model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model has no chat template.
    #[error("the model has no chat template: give the prompt without one (`Engine::encode`)")]
    NoTemplate,
    /// Sampling parameters.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// What the answer must look like.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Attention parameters.
    #[error(transparent)]
    Attention(#[from] attention::Error),
    /// The device.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// Nothing to answer.
    #[error("the prompt is empty: give at least one token")]
    EmptyPrompt,
    /// A token that is not the model's.
    #[error("token {id} is not below the vocabulary size {vocab_size}")]
    Token {
        /// Token.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Too long for the model.
    #[error(
        "{prompt_tokens} prompt tokens and {max_tokens} new ones exceed the model's context of {max_context}: shorten the prompt by {excess} tokens, ask for fewer new ones (`Request::max_tokens`), stretch the context (`EngineOptions::stretch`), or set it (`EngineOptions::context`) where the model's files say it wrong"
    )]
    Context {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// New tokens asked for.
        max_tokens: usize,
        /// Longest sequence of the model.
        max_context: usize,
        /// Tokens too many.
        excess: usize,
    },
    /// Nobody draws rows there.
    #[error("a receipt is drawn on CPUs only so far: run on the CPU, or without `Request::receipt`")]
    ReceiptOnGpu,
    /// Too large for the machine.
    #[error("{what} needs {need}, {} are available: close other programs, use a smaller model or a shorter prompt, or raise `EngineOptions::max_memory_bytes`", Bytes(*available))]
    Memory {
        /// What for.
        what: String,
        /// Bytes needed.
        need: String,
        /// Bytes available for all of it, what is held already included.
        available: u64,
    },
    /// Logits that say nothing.
    #[error("the model computed no number (infinity or NaN) for the token at position {position}; {finding}")]
    NoNumber {
        /// Position of the token to be predicted; the first of a prompt is at 0.
        position: usize,
        /// Where it begins.
        finding: Finding,
    },
    /// A fault of ours.
    #[error(
        "the engine panicked at this request: please report what stands on standard error; other requests are answered"
    )]
    Panicked,
    /// Nothing can be answered any more.
    #[error(
        "the engine panicked before and does not compute what it did: start it again, and report what stands on standard error"
    )]
    Broken,
    /// Nobody knows how long a step takes here.
    #[error(
        "a time budget needs to know this machine: run `sparse-accelerate calibrate`, and give what it measured (`Engine::set_costs`)"
    )]
    TimeBudgetNeedsCalibration,
    /// Nobody measured a step on such a GPU.
    #[error(
        "a time budget needs to know {device}: run `sparse-accelerate calibrate --device cuda:N` and give what it measured (`Engine::set_costs`), or set `Goal::Density` or `Goal::Cost`"
    )]
    TimeBudgetUnknown {
        /// Name of the GPU.
        device: String,
    },
    /// The search would take all of it.
    #[error(
        "a budget of {budget_ms:.0} ms is too small for this prompt: finding patterns alone takes about {search_ms:.0} ms, dense attention {dense_ms:.0} ms"
    )]
    TimeBudget {
        /// Asked for.
        budget_ms: f64,
        /// Predicted for the search.
        search_ms: f64,
        /// Predicted for dense attention.
        dense_ms: f64,
    },
    /// No plan is that small.
    #[error(
        "a budget of {asked} is too small for a prompt of {prompt_tokens} tokens: every 64 queries or more compute the first block and the newest ones, {least} at the least; ask for that or more, or for less with a longer prompt"
    )]
    Budget {
        /// Asked for, as [`Goal`](crate::request::Goal) is written.
        asked: String,
        /// The least, in the same form.
        least: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
    },
}
