//! Where a model began to compute what is no number: a second run, slow and watched, for an error that names a layer.
//!
//! The first run is not watched. What is no number spreads by the residual stream to the logits, and by attention to later
//! tokens: looking at logits is enough to know that it is there.

use super::{Engine, EngineError, is_sparse, tokens_in_context};
use crate::decoder::Part;
use crate::logits::are_numbers;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::prefill::next_chunk;
use std::fmt;

/// Where values stop being finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The first part of the model.
    pub part: Part,
    /// The first position for which that part gave none; the first of a prompt is at 0.
    pub position: usize,
}

/// What the second run found.
#[derive(Debug)]
pub enum Finding {
    /// It begins here.
    Began(Origin),
    /// All parts gave numbers: what was computed is not computed again.
    NotAgain,
    /// The second run could not be.
    Failed(Box<EngineError>),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Finding::Began(Origin { part, position }) => write!(
                f,
                "it begins in {part}, at position {position} (both count from 0): a weight there is no number, or a value grew \
                 beyond what its type holds; take another file or quantisation of the model, or get this one again if its \
                 checksum is not the publisher's"
            ),
            Finding::NotAgain => f.write_str(
                "a second run computed numbers only, so the machine makes errors or this program does: run it again, and report \
                 it if it comes back",
            ),
            Finding::Failed(error) => write!(f, "the second run, which looks for where it begins, failed: {error}"),
        }
    }
}

impl Engine {
    /// The error of a model that gave no number for the token at `position`, behind `prompt` and what it `answered`. What
    /// the first run held must have been let go.
    pub(super) fn no_number(
        &self,
        position: usize,
        prompt: &[u32],
        answered: &[u32],
        policy: AttentionPolicy,
    ) -> EngineError {
        let finding = match self.origin(position, prompt, answered, policy) {
            Ok(Some(origin)) => Finding::Began(origin),
            Ok(None) => Finding::NotAgain,
            Err(error) => Finding::Failed(Box::new(error)),
        };
        EngineError::NoNumber { position, finding }
    }

    /// Takes the same tokens through the model by the same policy, watched, as far as it takes.
    fn origin(
        &self,
        position: usize,
        prompt: &[u32],
        answered: &[u32],
        policy: AttentionPolicy,
    ) -> Result<Option<Origin>, EngineError> {
        let tokens = tokens_in_context(prompt, answered.len() + 1);
        self.check_room(tokens, is_sparse(policy))?;
        let mut run = self.model.start(prompt.len(), tokens)?;
        while run.tokens_done() < position {
            let start = run.tokens_done();
            let found = match start.checked_sub(prompt.len()) {
                None => {
                    let (chunk, last_rows) = next_chunk(start, &prompt[start..], self.chunk_tokens);
                    run.forward_watched(chunk, policy.into(), last_rows)?
                }
                Some(answer) => run.forward_watched(&answered[answer..=answer], PrefillAttention::default(), 0)?,
            };
            if let Some((part, token)) = found {
                return Ok(Some(Origin { part, position: start + token }));
            }
        }
        let last = position - 1;
        let logits = run.logits(last + run.chunk_len() - run.tokens_done())?;
        Ok((!are_numbers(&logits)).then_some(Origin { part: Part::OutputHead, position: last }))
    }
}
