//! OpenAI's API.

mod answer;
mod api;
pub mod chat;
mod chat_message;
pub mod completions;
pub mod models;
mod parameters;
mod response_format;
pub mod responses;
mod stream;
mod tools;
mod usage;
