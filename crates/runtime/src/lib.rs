//! The engine: a model file and a prompt in, tokens out, with dense or dynamic sparse prefill attention.
//!
//! ```text
//! model_files -> weights + config -> decoder (over ops: cpu or gpu) -> prefill -> decode -> text
//! ```
//!
//! What attention computes in prefill is a [`policy`], data that every device executes: a GPU searches by itself, and hands
//! queries and keys to the host only for planners that live there. Decoding is dense. What a device lacks is said before the work
//! starts.

pub mod chat_template;
pub mod config;
pub mod constraint;
pub mod cpu;
pub mod decoder;
mod deep_stack;
pub mod dry_run;
pub mod engine;
pub mod footprint;
pub mod formats;
pub mod gpu;
pub mod kv_cache;
pub mod layer_pages;
mod library_panics;
pub mod log_probabilities;
mod logits;
pub mod memory;
pub mod model;
pub mod model_files;
pub mod ops;
pub mod policy;
pub mod precision;
pub mod prefill;
pub mod receipt;
pub mod request;
pub mod sampling;
pub mod sequence;
mod stop_texts;
pub mod tokenizer;
pub mod tool_calls;
pub mod weights;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
