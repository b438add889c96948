//! RULER's scores (`scripts/eval/synthetic/constants.py`): what stands in an answer; case does not count.

use serde::{Deserialize, Serialize};

/// What an answer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The share of what should stand in it that does: `string_match_all`.
    Share,
    /// All for any of the right answers: `string_match_part`.
    Any,
}

impl Credit {
    /// Of how many things how many were found.
    pub fn found(self, answer: &str, right: &[String]) -> (usize, usize) {
        let answer = answer.to_lowercase();
        let found = right.iter().filter(|right| answer.contains(&right.to_lowercase())).count();
        match self {
            Credit::Share => (found, right.len()),
            Credit::Any => (found.min(1), 1),
        }
    }
}
