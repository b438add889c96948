//! Frequent words: which three words of a coded text, whose frequencies fall by a zeta distribution, appear most often?

use super::variables::different_words;
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::f64::consts::PI;
use std::ops::RangeInclusive;

/// Letters of a coded word.
const LETTERS: usize = 6;
/// One coded word for so many tokens of the prompt.
const TOKENS_A_WORD: usize = 50;
/// Words that are asked for.
const FREQUENT: usize = 3;
/// From so many drawn words on each of those asked for stands there more often than the next.
const LEAST_DRAWN: usize = 100;
/// Fewest words: the noise, those asked for, and one that is not.
const LEAST_WORDS: usize = FREQUENT + 2;

/// A sample of the task.
pub(super) struct FrequentWords {
    /// By rank; the first stands for noise.
    words: Vec<String>,
    random: Random,
}

impl FrequentWords {
    /// For prompts of at most `limit` tokens.
    pub(super) fn new(limit: usize, mut random: Random) -> Self {
        let count = (limit / TOKENS_A_WORD).max(LEAST_WORDS);
        let mut words = different_words(count, LETTERS, b'a', &mut random);
        words[0] = "...".into();
        Self { words, random }
    }
}

/// How often the word of a rank, from 1, stands in a text of `drawn` words: the zeta distribution with exponent 2, rounded down.
fn times(rank: usize, drawn: usize) -> usize {
    let zeta_of_2 = PI * PI / 6.0;
    (drawn as f64 / (rank as f64).powi(2) / zeta_of_2) as usize
}

impl Writer for FrequentWords {
    /// Words drawn, of which rounding leaves fewer.
    fn counts(&self) -> RangeInclusive<usize> {
        LEAST_DRAWN..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let ranked = self.words.iter().zip(1..);
        let mut text: Vec<&str> =
            ranked.flat_map(|(word, rank)| std::iter::repeat_n(word.as_str(), times(rank, count))).collect();
        self.random.clone().shuffle(&mut text);
        Exercise {
            shown: None,
            question: format!(
                "Read the following coded text and track the frequency of each coded word. Find the three most frequently \
                 appeared coded words. {}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are \
                 the three most frequently appeared words in the above coded text?",
                text.join(" ")
            ),
            opening: " Answer: According to the coded text above, the three most frequently appeared words are:".into(),
            answers: self.words[1..=FREQUENT].to_vec(),
        }
    }
}
