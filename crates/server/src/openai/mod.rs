//! OpenAI's API.

mod answer;
pub mod chat;
pub mod completions;
pub mod models;
mod parameters;
pub mod responses;
mod stream;
mod usage;
