//! The tokens of a model as a tree of bytes.

use super::ConstraintError;
use crate::library_panics;
use crate::tokenizer::Tokenizer;
use llguidance::ParserFactory;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokRxInfo, TokTrie};
use std::sync::Arc;

/// No byte of UTF-8, and to the library the beginning of a special token.
const NO_TEXT: u8 = 0xff;

/// Where the tokens are looked up that may come next.
pub(crate) struct Vocabulary {
    pub(super) factory: ParserFactory,
    /// What stands for the end: those of the model, or one behind all tokens where it has none.
    pub(super) end_ids: Vec<u32>,
}

impl Vocabulary {
    /// Takes a moment: there may be hundreds of thousands of tokens.
    ///
    /// # Errors
    /// When the library fails on them.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Arc<Self>, ConstraintError> {
        let made = library_panics::guarded(|| Self::of(tokenizer));
        let made = made.map_err(ConstraintError::Vocabulary)?;
        made.map(Arc::new).map_err(|error| ConstraintError::Vocabulary(super::first_words(&error.to_string())))
    }

    fn of(tokenizer: &Tokenizer) -> Result<Self, impl std::fmt::Display + use<>> {
        // Tokens without bytes are in no tree, and so never allowed. An end token must not be taken for the text that it may have.
        let is_end = |id: &u32| tokenizer.eos_ids().contains(id);
        let mut words: Vec<Vec<u8>> = (0..tokenizer.token_count() as u32)
            .map(|id| match tokenizer.token_bytes(id) {
                bytes if bytes.contains(&NO_TEXT) || is_end(&id) => Vec::new(),
                bytes => bytes.to_vec(),
            })
            .collect();
        let mut end_ids: Vec<u32> =
            tokenizer.eos_ids().iter().copied().filter(|id| (*id as usize) < words.len()).collect();
        if end_ids.is_empty() {
            end_ids.push(words.len() as u32);
            words.push(Vec::new());
        }
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end_ids[0]), &words).with_eos_tokens(&end_ids);
        // Which tokens spell a text is for the model to say: nothing is forced.
        let tokens = Arc::new(ApproximateTokEnv::new(trie)) as llguidance::toktrie::TokEnv;
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices).map(|mut factory| {
            factory.quiet();
            let limits = factory.limits_mut();
            limits.verbose_errors = false;
            // Each takes a kilobyte or two, and real schemas a few thousand.
            limits.max_lexer_states = 50_000;
            Self { factory, end_ids }
        })
    }
}
