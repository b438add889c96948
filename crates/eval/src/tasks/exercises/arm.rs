//! The ways in which every prompt is answered.

use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the ways in which every prompt is answered: a mode, and what it aims at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Attention mode.
    pub attention: AttentionMode,
    /// What it aims at; nothing for dense attention, which computes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

impl Arm {
    /// What the others are compared with.
    pub const DENSE: Self = Self { attention: AttentionMode::Dense, goal: None };

    /// Every mode with every goal, dense attention once, in the order of the modes.
    ///
    /// ```
    /// use runtime::request::{AttentionMode, Goal};
    /// use eval::tasks::exercises::Arm;
    ///
    /// let arms = Arm::all(&[AttentionMode::Dense, AttentionMode::Sparse], &[Goal::Recall(0.9), Goal::Density(0.1)]);
    /// let names: Vec<String> = arms.iter().map(Arm::to_string).collect();
    /// assert_eq!(names, ["dense", "sparse recall=0.9", "sparse density=0.1"]);
    /// ```
    pub fn all(modes: &[AttentionMode], goals: &[Goal]) -> Vec<Self> {
        let mut arms = Vec::new();
        for &attention in modes {
            let of_mode = match attention {
                AttentionMode::Dense => vec![Self::DENSE],
                _ => goals.iter().map(|&goal| Self { attention, goal: Some(goal) }).collect(),
            };
            arms.extend(of_mode);
        }
        let mut each_once: Vec<Self> = Vec::with_capacity(arms.len());
        for arm in arms {
            if !each_once.contains(&arm) {
                each_once.push(arm);
            }
        }
        each_once
    }
}

/// As results are printed, and samples found again.
impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.goal {
            Some(goal) => f.pad(&format!("{} {goal}", self.attention)),
            None => f.pad(self.attention.name()),
        }
    }
}
