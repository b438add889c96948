//! An answer under way within its constraint.

use super::{CompiledConstraint, Constraint, ConstraintError, Vocabulary, first_words};
use llguidance::Matcher;
use std::sync::Arc;

/// Says which tokens may come next.
pub(crate) struct Guide {
    source: Arc<Constraint>,
    vocabulary: Arc<Vocabulary>,
    matcher: Matcher,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Tokens, end tokens perhaps among them.
    Tokens,
    /// Nothing: the answer is whole.
    End,
}

impl Guide {
    /// At the beginning of an answer of the engine whose tokens these are; nothing of another has been looked up yet.
    ///
    /// # Errors
    /// When it was compiled for another.
    pub(crate) fn new(
        compiled: &CompiledConstraint,
        vocabulary: Option<&Arc<Vocabulary>>,
    ) -> Result<Self, ConstraintError> {
        let CompiledConstraint { source, vocabulary: its, start } = compiled;
        if !vocabulary.is_some_and(|own| Arc::ptr_eq(own, its)) {
            return Err(ConstraintError::OtherEngine { what: source.name() });
        }
        // Deep: answers share no cache that one of them could fill.
        Ok(Self { source: source.clone(), vocabulary: its.clone(), matcher: start.deep_clone() })
    }

    /// Makes the logits of all other tokens minus infinity.
    ///
    /// # Errors
    /// When the parser gives up: it takes too much, or no token of the model goes on.
    pub(crate) fn narrow(&mut self, logits: &mut [f32]) -> Result<Allowed, ConstraintError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| self.lost(&error.to_string()))?;
        let mut any = false;
        for (id, logit) in logits.iter_mut().enumerate() {
            match id < mask.len() && mask.get(id) {
                true => any = true,
                false => *logit = f32::NEG_INFINITY,
            }
        }
        // A model without end tokens has none to draw.
        let may_end = self.vocabulary.end_ids.iter().any(|id| mask.get(*id as usize));
        match (any, may_end) {
            (true, _) => Ok(Allowed::Tokens),
            (false, true) => Ok(Allowed::End),
            (false, false) => Err(self.lost("no token of the model goes on")),
        }
    }

    /// Goes on by a token that was allowed and ends nothing; whether the answer is whole, and nothing may follow.
    ///
    /// # Errors
    /// When the parser gives up.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, ConstraintError> {
        self.matcher.consume_token(token).map_err(|error| self.lost(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }

    fn lost(&self, problem: &str) -> ConstraintError {
        ConstraintError::Lost { what: self.source.name(), problem: first_words(problem) }
    }
}
