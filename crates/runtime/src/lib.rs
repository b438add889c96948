//! The engine: a model file and a prompt in, tokens out, with dense or dynamic sparse prefill attention.
pub mod config;
pub mod engine;
pub mod request;
pub mod sampling;
pub mod tokenizer;
pub mod weights;
