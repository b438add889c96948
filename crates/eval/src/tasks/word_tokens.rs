//! About how many tokens a text has, without tokenising it.

use crate::{Completer, EvalError};
use std::cell::RefCell;
use std::collections::HashMap;

/// Letters of a piece at most: writing without spaces has no words to remember.
const LONGEST: usize = 32;

/// A model whose tokens of single words are remembered. A text has about as many as its words together: tokenizers cut there,
/// or nearly so.
pub struct WordTokens<'m, M> {
    /// The model.
    pub(super) model: &'m M,
    known: RefCell<HashMap<String, usize>>,
}

impl<'m, M: Completer> WordTokens<'m, M> {
    /// Of which none is known yet.
    pub(super) fn new(model: &'m M) -> Self {
        Self { model, known: RefCell::default() }
    }

    /// About how many tokens `text` has, but for a number that is the same for longer texts of its kind.
    ///
    /// # Errors
    /// When the tokenizer refuses.
    pub(super) fn estimate(&self, text: &str) -> Result<usize, EvalError> {
        let mut known = self.known.borrow_mut();
        let mut tokens_of = |piece: &str| match known.get(piece) {
            Some(tokens) => Ok(*tokens),
            None => {
                let tokens = self.model.encode(piece)?.len();
                known.insert(piece.to_owned(), tokens);
                Ok::<_, EvalError>(tokens)
            }
        };
        // Tokens that the model wants around every text.
        let around = tokens_of("")?;
        let mut all = around;
        for piece in pieces(text) {
            all += tokens_of(piece)?.saturating_sub(around);
        }
        Ok(all)
    }
}

/// Words, each with the white space before it.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut in_word = false;
        let end = text.char_indices().enumerate().find(|(n, (_, letter))| {
            let ends = *n == LONGEST || in_word && letter.is_whitespace();
            in_word |= !letter.is_whitespace();
            ends
        });
        let (piece, rest) = text.split_at(end.map_or(text.len(), |(_, (at, _))| at));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;

    #[test]
    fn pieces_are_words_and_make_the_text() {
        let text = "  One two,\n\nthree. ";
        assert_eq!(pieces(text).collect::<Vec<_>>(), ["  One", " two,", "\n\nthree.", " "]);
        let long = "ä".repeat(70);
        assert_eq!(pieces(&long).map(|piece| piece.chars().count()).collect::<Vec<_>>(), [LONGEST, LONGEST, 6]);
        assert_eq!(pieces("").count(), 0);
        let model = ScriptedModel::default();
        assert_eq!(WordTokens::new(&model).estimate(text).unwrap(), text.len());
    }
}
