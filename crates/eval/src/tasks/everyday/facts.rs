//! A fact in the middle of notes, and one that is stated twice.

use super::diary::{self, PEOPLE};
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;

/// What has a code.
const OBJECTS: [&str; 10] =
    ["locker", "garage", "mailbox", "archive", "cellar", "workshop", "safe", "gate", "studio", "boathouse"];

/// A sample: notes with the code of somebody's locker.
pub(super) struct Facts {
    /// Whether the code is changed later in the notes.
    is_changed: bool,
    random: Random,
}

impl Facts {
    /// A code that is said once, at a depth of 0.4 to 0.6.
    pub(super) fn in_the_middle(random: Random) -> Self {
        Self { is_changed: false, random }
    }

    /// A code that is said at a depth of 0.2 to 0.4, and another that it is changed to, at 0.6 to 0.8.
    pub(super) fn changed(random: Random) -> Self {
        Self { is_changed: true, random }
    }
}

impl Writer for Facts {
    /// Sentences around them.
    fn counts(&self) -> RangeInclusive<usize> {
        0..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let mut random = self.random.clone();
        let mut sentences = diary::sentences(count, random.fork());
        let what = format!("code of {}'s {}", random.one_of(&PEOPLE), random.one_of(&OBJECTS));
        // Different, since they begin differently.
        let mut code = |first: usize| (first * 10_000 + random.below(40_000)).to_string();
        let (first, second) = (code(1), code(5));
        let mut depth = |least: f64| least + 0.2 * random.below(1000) as f64 / 1000.0;
        let mut put = |depth: f64, fact: String| sentences.insert((count as f64 * depth).round() as usize, fact);
        let (now, answer) = match self.is_changed {
            true => {
                let (early, late) = (depth(0.2), depth(0.6));
                // The later one first, which leaves the earlier place where it is.
                put(late, format!("The {what} was changed: it is now {second}."));
                put(early, format!("The {what} is {first}."));
                (" now", second)
            }
            false => {
                put(depth(0.4), format!("The {what} is {first}."));
                ("", first)
            }
        };
        Exercise {
            shown: None,
            question: format!(
                "Read these notes.\n\n{}\n\nWhat is the {what}{now}? Answer with the number.",
                sentences.join(" ")
            ),
            opening: format!(" The {what} is{now}"),
            answers: vec![answer],
        }
    }
}
