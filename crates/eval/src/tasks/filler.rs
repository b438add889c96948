//! Text that says nothing, as much of it as fits.

use super::fit;
use super::word_tokens::WordTokens;
use crate::{Completer, EvalError};

pub(super) const FILLER: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";

/// The longest prompt of at most `limit` tokens that `write` makes of some number of fillers.
pub(super) fn fit(model: &impl Completer, limit: usize, write: impl Fn(usize) -> String) -> Result<String, EvalError> {
    let words = WordTokens::new(model);
    let estimate = |fillers| words.estimate(&write(fillers));
    let fillers = fit::most(limit, 0..=usize::MAX, estimate, |fillers| Ok(model.encode(&write(fillers))?.len()))?;
    Ok(write(fillers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::chat_template::Message;
    use runtime::engine::EngineError;
    use runtime::request::{Generation, Request};

    /// A token a byte, up to so many.
    struct Clipped(usize);

    impl Completer for Clipped {
        fn max_context(&self) -> usize {
            1 << 20
        }

        fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
            Ok(text.bytes().take(self.0).map(u32::from).collect())
        }

        fn can_chat(&self) -> bool {
            false
        }

        fn encode_chat(&self, _: &[Message], _: &str) -> Result<Vec<u32>, EngineError> {
            unreachable!("no chat is asked")
        }

        fn forget_peak_memory(&mut self) {}

        fn complete(&mut self, _: &[u32], _: &Request) -> Result<Generation, EngineError> {
            unreachable!("nothing is asked")
        }
    }

    #[test]
    fn a_prompt_that_stops_growing_is_an_error() {
        let write = |fillers| FILLER.repeat(fillers);
        assert_eq!(fit(&Clipped(usize::MAX), 5000, write).unwrap().len(), 5000 / FILLER.len() * FILLER.len());
        // Clipped before the first guess, and after it.
        for clip in [40, 4000] {
            let error = fit(&Clipped(clip), 5000, write).unwrap_err();
            assert!(matches!(error, EvalError::PromptDoesNotGrow { tokens, .. } if tokens == clip), "{error}");
        }
    }
}
