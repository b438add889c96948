//! Anthropic's API: messages, and how many tokens they are.

pub mod error;
pub mod messages;
mod request;
mod response;
mod stream;
