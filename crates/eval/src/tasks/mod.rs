//! Tasks with known answers.

pub mod needle;
pub mod passkey;
pub mod perplexity;
pub mod retrieval;

mod filler;
mod question;

pub use question::{Prediction, Question};
