//! OpenAI's API.

mod answer;
pub mod chat;
mod chat_message;
pub mod completions;
pub mod models;
mod parameters;
mod response_format;
mod stream;
mod tools;
mod usage;
