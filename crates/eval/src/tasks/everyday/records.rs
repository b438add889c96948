//! Answers of several hundred tokens: a table that is copied, and a stretch of a numbered list.

use super::diary::{self, PEOPLE, PLACES, THINGS};
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;

/// Rows of the table, and items of the list that are asked for.
pub(super) const RECORDS: usize = 20;
const HEADER: &str = "| Nr. | Buyer | Item | City | Amount |\n|---|---|---|---|---|\n";

/// A depth of 0.4 to 0.6.
fn middle(random: &mut Random) -> f64 {
    0.4 + 0.2 * random.below(1000) as f64 / 1000.0
}

/// A sample: a table in the middle of notes, to be copied.
pub(super) struct Table(pub Random);

impl Writer for Table {
    /// Sentences around it.
    fn counts(&self) -> RangeInclusive<usize> {
        0..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let mut random = self.0.clone();
        let sentences = diary::sentences(count, random.fork());
        let (before, after) = sentences.split_at((count as f64 * middle(&mut random)).round() as usize);
        let mut row = |n: usize| {
            let [buyer, city, item] = [random.one_of(&PEOPLE), random.one_of(&PLACES), random.one_of(&THINGS)];
            format!("| {n} | {buyer} | {item} | {city} | {} |", 100 + random.below(900))
        };
        let rows: Vec<String> = (1..=RECORDS).map(&mut row).collect();
        Exercise {
            shown: None,
            question: format!(
                "Read these notes. There is a table in them.\n\n{}\n\n{HEADER}{}\n\n{}\n\nCopy the whole table, all \
                 {RECORDS} rows, exactly as it stands in the notes.",
                before.join(" "),
                rows.join("\n"),
                after.join(" ")
            ),
            opening: format!(" The table of the notes:\n\n{HEADER}"),
            answers: rows,
        }
    }
}

/// A sample: items from the middle of a numbered list, to be written out.
pub(super) struct List(pub Random);

impl Writer for List {
    /// Items.
    fn counts(&self) -> RangeInclusive<usize> {
        RECORDS..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let mut random = self.0.clone();
        let mut deeds = random.fork();
        let items: Vec<String> = (1..=count).map(|n| format!("{n}. {}.", diary::deed(&mut deeds))).collect();
        let before = ((count - RECORDS) as f64 * middle(&mut random)).round() as usize;
        let asked = &items[before..before + RECORDS];
        let (first, last) = (before + 1, before + RECORDS);
        Exercise {
            shown: None,
            question: format!(
                "Read this list.\n\n{}\n\nWrite out the items {first} to {last} of the list, exactly as they stand there, one a line.",
                items.join("\n")
            ),
            opening: format!(" Items {first} to {last} of the list:\n\n{first}."),
            answers: asked.to_vec(),
        }
    }
}
