//! Where a family is cut: which of its levels are kept, and how much of the next one.

/// All blocks up to a level, which each part of the chunk has for itself, and, evenly spread, some of the next.
///
/// Levels are coarse, each may have as many blocks as all before it. A budget is spent to the last block, and a recall is met part by
/// part, so that what is kept grows with what is asked for, and is little more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut {
    /// Levels up to this are kept in each part of the chunk.
    pub levels: Vec<u8>,
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
    /// The level of the part that keeps most.
    pub(super) fn max_level(&self) -> u8 {
        self.levels.iter().copied().max().unwrap_or(0)
    }

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
    /// Block steps that every plan has.
    pub always: f64,
    /// Whether all parts keep the same levels.
    pub one_level: bool,
    /// Of each part of the chunk.
    pub parts: Vec<CutsOfPart>,
}

/// What the cuts of one part of a chunk take and keep.
#[derive(Debug)]
pub(super) struct CutsOfPart {
    /// Block steps up to each level, without those that every plan has.
    pub steps: Vec<f64>,
    /// Share of the part's attention kept up to each level.
    pub recall: Vec<f64>,
}

impl Cuts {
    /// The first level alone.
    pub(super) fn least(&self) -> Cut {
        self.whole(self.same_level(0))
    }

    /// The fewest levels, the same in all parts, that keep a share of the attention, where a part that keeps less than its own
    /// share has as many more as it needs. From the last part back, which has most blocks, parts then have a level less as long as
    /// all together still keep enough.
    pub(super) fn of_recall(&self, share: f64, of_part: f64) -> Option<Cut> {
        let needed = |part: &CutsOfPart| part.recall.iter().position(|recall| *recall >= of_part);
        let mut floors: Vec<usize> = self.parts.iter().map(needed).collect::<Option<_>>()?;
        if self.one_level {
            let most = floors.iter().copied().max()?;
            floors.fill(most);
        }
        let at_least = |level: usize| -> Vec<usize> { floors.iter().map(|floor| level.max(*floor)).collect() };
        let enough = |level: &usize| self.recall(&at_least(*level)) >= share;
        let mut levels = at_least((0..self.num_levels()).find(enough)?);
        for part in (0..levels.len()).rev().filter(|_| !self.one_level) {
            if levels[part] > floors[part] {
                levels[part] -= 1;
                levels[part] += usize::from(self.recall(&levels) < share);
            }
        }
        Some(self.whole(levels))
    }

    /// The most blocks, or levels, that take at most `steps`; nothing where the first level takes more.
    pub(super) fn of_steps(&self, steps: f64, whole_levels: bool) -> Option<Cut> {
        let level = (0..self.num_levels()).rfind(|&level| self.steps(&self.same_level(level)) <= steps)?;
        let whole = self.whole(self.same_level(level));
        if whole_levels || level + 1 == self.num_levels() {
            return Some(whole);
        }
        let next = self.whole(self.same_level(level + 1));
        let (more, more_of) = ((steps - whole.steps).floor(), next.steps - whole.steps);
        let recall = whole.recall + more / more_of * (next.recall - whole.recall);
        Some(Cut { more: more as u64, more_of: more_of as u64, steps: whole.steps + more, recall, ..whole })
    }

    fn num_levels(&self) -> usize {
        self.parts.first().map_or(0, |part| part.steps.len())
    }

    fn same_level(&self, level: usize) -> Vec<usize> {
        vec![level; self.parts.len()]
    }

    fn steps(&self, levels: &[usize]) -> f64 {
        self.always + self.parts.iter().zip(levels).map(|(part, level)| part.steps[*level]).sum::<f64>()
    }

    fn recall(&self, levels: &[usize]) -> f64 {
        self.parts.iter().zip(levels).map(|(part, level)| part.recall[*level]).sum::<f64>() / self.parts.len() as f64
    }

    fn whole(&self, levels: Vec<usize>) -> Cut {
        let (steps, recall) = (self.steps(&levels), self.recall(&levels));
        Cut { levels: levels.into_iter().map(|level| level as u8).collect(), more: 0, more_of: 0, steps, recall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two parts: the second keeps less, and has more blocks.
    fn cuts() -> Cuts {
        let part = |steps: [f64; 4], recall: [f64; 4]| CutsOfPart { steps: steps.into(), recall: recall.into() };
        let (first, second) = ([0.6, 0.6, 0.8, 1.0], [0.0, 0.0, 0.4, 1.0]);
        Cuts {
            always: 10.0,
            one_level: false,
            parts: vec![part([0.0, 0.0, 5.0, 19.0], first), part([0.0, 0.0, 10.0, 60.0], second)],
        }
    }

    #[test]
    fn a_budget_of_steps_is_spent_to_the_last_block() {
        assert_eq!(cuts().of_steps(9.9, false), None, "the first level takes more");
        let cut = cuts().of_steps(20.7, false).unwrap();
        assert_eq!((&cut.levels[..], cut.more, cut.more_of, cut.steps), (&[1, 1][..], 10, 15, 20.0));
        assert!((cut.recall - 0.5).abs() < 1e-12, "two thirds of the way: {cut:?}");
        assert_eq!(cuts().of_steps(20.7, true), Some(cuts().whole(vec![1, 1])));
        assert_eq!(cuts().of_steps(1e9, false), Some(cuts().whole(vec![3, 3])));
    }

    #[test]
    fn a_recall_takes_whole_levels_of_each_part() {
        assert_eq!(cuts().of_recall(0.5, 0.4), Some(cuts().whole(vec![0, 2])), "the last part needs more");
        assert_eq!(cuts().of_recall(0.5, 0.5), Some(cuts().whole(vec![0, 3])), "a part keeps too little");
        assert_eq!(cuts().of_recall(0.9, 0.4), Some(cuts().whole(vec![2, 3])), "the last one back cannot do without");
        assert_eq!(cuts().of_recall(1.1, 0.0), None);
        let one_level = Cuts { one_level: true, ..cuts() };
        assert_eq!(one_level.of_recall(0.5, 0.4), Some(cuts().whole(vec![2, 2])));
        assert_eq!(one_level.of_recall(0.9, 0.4), Some(cuts().whole(vec![3, 3])));
    }

    prop_compose! {
        fn part()(gains in prop::collection::vec((0f64..50.0, 0f64..1.0), 6)) -> CutsOfPart {
            let all: f64 = gains.iter().map(|(_, gain)| gain).sum::<f64>() + 1e-9;
            let (mut steps, mut recall) = (0.0, 0.0);
            let sums = gains.iter().map(|(more, gain)| {
                steps += more.floor();
                recall += gain / all;
                (steps, recall)
            });
            let (steps, recall) = sums.unzip();
            CutsOfPart { steps, recall }
        }
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

        #[test]
        fn every_part_keeps_its_share_for_no_more_than_one_level_of_all_takes(
            parts in prop::collection::vec(part(), 1..6), share in 0.3f64..0.98, of_part in 0f64..0.9,
        ) {
            let cuts = Cuts { always: 7.0, one_level: false, parts };
            let cut = cuts.of_recall(share, of_part).expect("all levels keep everything");
            let keep = |levels: &[usize]| cuts.recall(levels) >= share
                && cuts.parts.iter().zip(levels).all(|(part, level)| part.recall[*level] >= of_part);
            let levels: Vec<usize> = cut.levels.iter().map(|level| *level as usize).collect();
            prop_assert!(keep(&levels));
            let same = (0..6).map(|level| cuts.same_level(level)).find(|levels| keep(levels)).unwrap();
            prop_assert!(cut.steps <= cuts.steps(&same), "{:?} beside {:?}", levels, same);
        }
    }
}
