//! A mode beside dense attention, prompt by prompt.

use crate::statistics::{Proportion, exact_sign_test};

/// One prompt that both have answered.
pub(super) struct Pair {
    /// Whether both answered the same.
    pub same: bool,
    /// Whether the mode was right, and whether dense was; nothing where nobody knows what is right.
    pub right: Option<(bool, bool)>,
}

/// What pairs say together.
pub(super) struct Pairs {
    /// Those that were answered the same.
    pub same: Proportion,
    /// Those that only dense answered right.
    pub lost: usize,
    /// Those that only the mode answered right.
    pub won: usize,
    /// McNemar's exact test of lost against won.
    pub p_value: f64,
}

impl Pairs {
    pub(super) fn of(pairs: impl Iterator<Item = Pair>) -> Self {
        let (mut same, mut lost, mut won) = (Vec::new(), 0, 0);
        for pair in pairs {
            same.push(pair.same);
            match pair.right {
                Some((false, true)) => lost += 1,
                Some((true, false)) => won += 1,
                _ => {}
            }
        }
        Self { same: Proportion::of(same), lost, won, p_value: exact_sign_test(lost, won) }
    }
}
