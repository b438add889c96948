//! Where a family is cut: which of its levels are kept, and how much of the next one.

/// All blocks up to a level and, evenly spread, some of the next.
///
/// Levels are coarse, each may have as many blocks as all before it. A budget is spent to the last block, so that what is kept
/// grows with what is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Levels up to this are kept.
    pub max_level: u8,
    /// Of the next level so many blocks,
    pub more: u64,
    /// out of so many.
    pub more_of: u64,
    /// Block steps, those that every plan has included.
    pub steps: f64,
    /// Attention kept on the judging probes; of a part of a level, its share.
    pub recall: f64,
}

impl Cut {
    /// Says of one block of the next level after another whether it is kept.
    pub(super) fn spread(&self) -> impl FnMut() -> bool + use<> {
        let Cut { more, more_of, .. } = *self;
        let mut owed = 0;
        move || {
            owed += more;
            let keep = more > 0 && owed >= more_of;
            owed -= if keep { more_of } else { 0 };
            keep
        }
    }
}

/// What every cut of a family with its columns takes and keeps.
pub(super) struct Cuts {
    /// Block steps up to each level.
    pub steps: Vec<f64>,
    /// Attention kept up to each level.
    pub recall: Vec<f64>,
    /// The same of the part of the chunk that keeps least.
    pub least: Vec<f64>,
}

impl Cuts {
    /// The first level alone.
    pub(super) fn least(&self) -> Cut {
        self.whole(0)
    }

    /// The fewest levels that keep a share of the attention, and of every part's another.
    pub(super) fn of_recall(&self, share: f64, of_part: f64) -> Option<Cut> {
        let keeps = |level: &usize| self.recall[*level] >= share && self.least[*level] >= of_part;
        (0..self.steps.len()).find(keeps).map(|level| self.whole(level))
    }

    /// The most blocks, or levels, that take at most `steps`; nothing where the first level takes more.
    pub(super) fn of_steps(&self, steps: f64, whole_levels: bool) -> Option<Cut> {
        let level = (0..self.steps.len()).rfind(|&level| self.steps[level] <= steps)?;
        let whole = self.whole(level);
        let Some(next) = self.steps.get(level + 1).filter(|_| !whole_levels) else { return Some(whole) };
        let (more, more_of) = ((steps - whole.steps).floor(), next - whole.steps);
        let recall = whole.recall + more / more_of * (self.recall[level + 1] - whole.recall);
        Some(Cut { more: more as u64, more_of: more_of as u64, steps: whole.steps + more, recall, ..whole })
    }

    fn whole(&self, level: usize) -> Cut {
        let (steps, recall) = (self.steps[level], self.recall[level]);
        Cut { max_level: level as u8, more: 0, more_of: 0, steps, recall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cuts() -> Cuts {
        let (recall, least) = (vec![0.3, 0.3, 0.6, 1.0], vec![0.0, 0.0, 0.4, 1.0]);
        Cuts { steps: vec![10.0, 10.0, 25.0, 89.0], recall, least }
    }

    #[test]
    fn a_budget_of_steps_is_spent_to_the_last_block() {
        assert_eq!(cuts().of_steps(9.9, false), None, "the first level takes more");
        let cut = cuts().of_steps(20.7, false).unwrap();
        assert_eq!((cut.max_level, cut.more, cut.more_of, cut.steps), (1, 10, 15, 20.0));
        assert!((cut.recall - 0.5).abs() < 1e-12, "two thirds of the way: {cut:?}");
        assert_eq!(cuts().of_steps(20.7, true), Some(cuts().whole(1)));
        assert_eq!(cuts().of_steps(1e9, false), Some(cuts().whole(3)));
    }

    #[test]
    fn a_recall_takes_whole_levels() {
        assert_eq!(cuts().of_recall(0.5, 0.4), Some(cuts().whole(2)));
        assert_eq!(cuts().of_recall(0.5, 0.5), Some(cuts().whole(3)), "a part keeps too little");
        assert_eq!(cuts().of_recall(1.1, 0.0), None);
    }

    proptest! {
        #[test]
        fn as_many_blocks_are_kept_as_were_counted_and_they_are_spread(of in 1u64..500, share in 0f64..=1.0) {
            let more = (of as f64 * share) as u64;
            let mut spread = Cut { more, more_of: of, ..cuts().least() }.spread();
            let kept: Vec<bool> = (0..of).map(|_| spread()).collect();
            prop_assert_eq!(kept.iter().filter(|kept| **kept).count() as u64, more);
            let early = kept[..of as usize / 2].iter().filter(|kept| **kept).count() as u64;
            prop_assert!(early.abs_diff(more / 2) <= 1, "{} of {}", early, more);
        }
    }
}
