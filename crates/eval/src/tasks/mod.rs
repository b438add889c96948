//! Tasks with known answers, and prompts of one's own.

pub mod needle;
pub mod passkey;
pub mod perplexity;
pub mod prompts;
pub mod retrieval;

mod filler;
mod pairs;
mod question;
mod score;

pub use question::{Prediction, Question};
pub use score::Match;
