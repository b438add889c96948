//! How much memory a prompt takes: what the engine predicts, and what was held.
//!
//! The most that a process ever held never falls again, so a fair point needs a process of its own: the program starts
//! one for each, and [`measure`] is what that one does.

use super::interleaved::prompt;
use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Goal, Request};
use serde::{Deserialize, Serialize};

/// One length under one attention mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Tokens of the prompt.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Weights, cache and scratch, as the engine counts them before it starts.
    pub predicted_bytes: u64,
    /// Most that was held, from the start of the process to the first token: on a GPU by buffers, on a CPU by the
    /// process, with its code and the pages of the model file that it read from. Nothing where nobody says.
    pub measured_bytes: Option<u64>,
}

/// Runs one prompt to its first token, in a process that has done nothing else.
///
/// # Errors
/// When the length is 0 or beyond the model's context, or the engine refuses.
pub fn measure(
    model: &mut impl Completer,
    length: usize,
    attention: AttentionMode,
    goal: Goal,
) -> Result<Point, EvalError> {
    let text = prompt(model, &[length])?;
    let request = Request { max_tokens: 1, attention, goal, ..Request::default() };
    let stats = model.complete(&text[..length], &request)?.stats;
    let (predicted_bytes, measured_bytes) = (stats.predicted_memory_bytes, stats.measured_memory_bytes);
    Ok(Point { length, attention, predicted_bytes, measured_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;

    #[test]
    fn one_prompt_and_nothing_before_it() {
        let mut model = ScriptedModel::default();
        let point = measure(&mut model, 777, AttentionMode::Sparse, Goal::default()).unwrap();
        assert_eq!((point.length, point.measured_bytes), (777, Some(777)));
        assert_eq!(model.requests, [(777, AttentionMode::Sparse)]);
        let refused = |length| measure(&mut ScriptedModel::default(), length, AttentionMode::Dense, Goal::default());
        assert!(matches!(refused(0), Err(EvalError::Nothing(_))));
        assert!(matches!(refused(9000), Err(EvalError::BeyondContext { .. })));
    }
}
