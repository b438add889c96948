//! The engine: a model file and a prompt in, tokens out, with dense or dynamic sparse prefill attention.
pub mod config;
pub mod engine;
pub mod tokenizer;
pub mod weights;
