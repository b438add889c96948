//! Tasks with known answers, and prompts of one's own.

mod digits;
pub mod everyday;
pub mod exercises;
pub mod needle;
pub mod passkey;
pub mod perplexity;
pub mod prompts;
pub mod retrieval;
pub mod ruler;

mod filler;
mod fit;
mod pairs;
mod question;
mod score;
mod word_tokens;

pub use question::{Prediction, Question};
pub use score::Match;
