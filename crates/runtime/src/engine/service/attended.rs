//! How keys and values came about, and whom they serve.

use crate::request::{AttentionMode, Goal, Request};

/// How keys and values came about. From the second layer on those of a sparse prefill are not those of a dense one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Attended {
    /// By every pair.
    Densely,
    /// By what met this goal at the least.
    ForGoal(Goal),
}

impl Attended {
    /// As a request asks for it.
    pub fn by(request: &Request) -> Self {
        match request.attention {
            AttentionMode::Dense => Attended::Densely,
            AttentionMode::Auto | AttentionMode::Sparse => Attended::ForGoal(request.goal),
        }
    }

    /// Whether it serves who asks for `wanted`: no less was kept.
    pub fn serves(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Attended::Densely, _) => true,
            (Attended::ForGoal(Goal::Recall(kept)), Attended::ForGoal(Goal::Recall(wanted))) => kept >= wanted,
            (own, wanted) => own == wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_less_serves_nobody_who_asks_for_more() {
        let recall = |share| Attended::ForGoal(Goal::Recall(share));
        let density = |share| Attended::ForGoal(Goal::Density(share));
        for (kept, wanted, serves) in [
            (Attended::Densely, recall(0.98), true),
            (Attended::Densely, Attended::Densely, true),
            (recall(0.98), recall(0.9), true),
            (recall(0.9), recall(0.98), false),
            (recall(0.98), Attended::Densely, false),
            (density(0.1), density(0.1), true),
            (density(0.1), density(0.2), false),
            (recall(0.98), density(0.1), false),
        ] {
            assert_eq!(kept.serves(wanted), serves, "{kept:?} for {wanted:?}");
        }
    }
}
