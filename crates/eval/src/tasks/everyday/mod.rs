//! What users of sparse prefill report broken, asked in prompts of any length: a tool called by its schema in the middle of
//! others, a passage or a function quoted word for word, a fact from the middle, a fact of which the later word holds, and
//! answers of several hundred tokens.
//!
//! Scores such as a single number found hide these: an answer may name the right thing and spell it wrong, or begin well and
//! drift. So each task counts how much of its answer is right, and a mode is held against dense attention prompt by prompt.

mod diary;
mod facts;
mod quotation;
mod records;
mod score;
mod task;
mod texts;
mod tool_call;

pub use task::Task;
pub use texts::Texts;

#[cfg(test)]
mod tests;
