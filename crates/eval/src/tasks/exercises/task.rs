//! What a kind of question has to say of itself.

use super::{Asking, Exercise};
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// A kind of question.
pub trait Task: Copy + PartialEq + fmt::Display + Serialize + DeserializeOwned {
    /// The texts that prompts are made of.
    type Sources;

    /// As commands and files spell it.
    fn name(self) -> &'static str;

    /// New tokens an answer may take.
    fn answer_tokens(self) -> usize;

    /// The prompt of a sample: with the tokens of its answer at most `length` tokens, and no more text would fit.
    ///
    /// # Errors
    /// When the sources lack what it needs, no such prompt can be written, or the tokenizer refuses.
    fn exercise(
        self,
        words: &WordTokens<impl Completer>,
        asking: Asking,
        sources: &Self::Sources,
        sample: [usize; 2],
        seed: u64,
    ) -> Result<Exercise, EvalError>;

    /// How many things an answer has of how many; all exercises of a task have as many.
    fn found(self, exercise: &Exercise, answer: &str) -> (usize, usize);
}
