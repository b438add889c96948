//! Common words: which ten words of a numbered list appear more often than all others?

use super::sources::{Sources, WordLists};
use crate::EvalError;
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;

/// Words that are common.
pub(super) const COMMON: usize = 10;
/// From this length on words are repeated more often.
const LONG_TOKENS: usize = 4096;

/// How often words stand in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    common: usize,
    uncommon: usize,
}

/// A sample of the task.
pub(super) struct CommonWords<'s> {
    words: &'s WordLists,
    is_long: bool,
    random: Random,
}

impl<'s> CommonWords<'s> {
    /// # Errors
    /// When the words are missing.
    pub(super) fn new(sources: &'s Sources, length: usize, random: Random) -> Result<Self, EvalError> {
        Ok(Self { words: sources.words()?, is_long: length >= LONG_TOKENS, random })
    }

    /// A question about a list of `count` different words, and the common ones.
    fn list(&self, count: usize, times: Times, random: &mut Random) -> (String, Vec<String>) {
        let mut order = random.fork();
        let all = self.words.all();
        let words: Vec<&str> = random.sample(all.len(), count).into_iter().map(|word| all[word].as_str()).collect();
        let (common, uncommon) = words.split_at(COMMON.min(words.len()));
        let repeated = |words: &[&'s str], times| words.repeat(times);
        let mut list = [repeated(common, times.common), repeated(uncommon, times.uncommon)].concat();
        order.shuffle(&mut list);
        let question = format!(
            "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that \
             appear most often.\n{}\nQuestion: What are the 10 most common words in the above list?",
            numbered(&list)
        );
        (question, common.iter().map(|word| String::from(*word)).collect())
    }
}

impl Writer for CommonWords<'_> {
    /// Different words.
    fn counts(&self) -> RangeInclusive<usize> {
        COMMON..=self.words.all().len()
    }

    fn write(&self, count: usize) -> Exercise {
        let (shown, shown_times, times) = match self.is_long {
            true => (40, Times { common: 10, uncommon: 3 }, Times { common: 30, uncommon: 3 }),
            false => (20, Times { common: 3, uncommon: 1 }, Times { common: 6, uncommon: 1 }),
        };
        let mut random = self.random.clone();
        let opening = String::from(" Answer: The top 10 words that appear most often in the list are:");
        let (shown, common) = self.list(shown, shown_times, &mut random);
        let (question, answers) = self.list(count, times, &mut random);
        Exercise { shown: Some((shown, format!("{opening} {}", numbered(&common)))), question, opening, answers }
    }
}

/// `1. word 2. other`.
fn numbered(words: &[impl AsRef<str>]) -> String {
    let items: Vec<String> =
        words.iter().enumerate().map(|(n, word)| format!("{}. {}", n + 1, word.as_ref())).collect();
    items.join(" ")
}
