//! A request, in tokens.

use crate::error::ApiError;
use runtime::constraint::{CompiledConstraint, Constraint};
use runtime::engine::Engine;

/// A prompt, and what the answer to it must look like.
pub(crate) struct Asked {
    pub prompt: Vec<u32>,
    pub constraint: Option<CompiledConstraint>,
}

impl Asked {
    /// `param` is the field that the constraint comes from.
    pub fn new(
        engine: &Engine,
        prompt: Vec<u32>,
        constraint: Option<&Constraint>,
        param: &'static str,
    ) -> Result<Self, ApiError> {
        let compile = |constraint| engine.constrain(constraint).map_err(|error| ApiError::from(error).about(param));
        Ok(Self { prompt, constraint: constraint.map(compile).transpose()? })
    }
}
