//! Anthropic's API: messages, tools among them, and how many tokens they are.

pub mod error;
pub mod messages;
mod request;
mod response;
mod stream;
mod tools;
mod turns;
