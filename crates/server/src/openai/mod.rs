//! OpenAI's API.

mod answer;
mod api;
pub mod chat;
mod chat_calls;
mod chat_message;
pub mod completions;
mod logprobs;
pub mod models;
mod parameters;
mod ranges;
mod response_format;
pub mod responses;
mod stream;
mod tools;
mod usage;
