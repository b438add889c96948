//! Variable tracking: a chain of assignments in a long text, all of whose variables have the value of the first.

use super::needles::NOISE;
use crate::random::Random;
use crate::tasks::exercises::{Asking, Exercise, Writer};
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Assignments of one variable to the next.
pub(super) const HOPS: usize = 4;
/// Letters of a variable.
const LETTERS: usize = 5;
/// Tokens that the example may have, if it can.
const EXAMPLE_TOKENS: usize = 500;
/// Letters of a variable of the example.
const EXAMPLE_LETTERS: usize = 3;

/// A sample of the task: the example that is shown first, and a chain.
pub(super) struct Variables {
    example: String,
    chain: Chain,
}

impl Variables {
    /// # Errors
    /// When the tokenizer refuses.
    pub(super) fn new(words: &WordTokens<impl Completer>, mut random: Random) -> Result<Self, EvalError> {
        let chain = Chain { letters: EXAMPLE_LETTERS, random: random.fork() };
        let shown = match chain.fit(words, Asking::Plain, EXAMPLE_TOKENS) {
            // Of tokens that are short the smallest example has more.
            Err(EvalError::PromptTooShort { .. }) => chain.write(*chain.counts().start()),
            fitting => fitting?,
        };
        let example = format!("{} {}\n\n", shown.text(), shown.answers.join(" "));
        Ok(Self { example, chain: Chain { letters: LETTERS, random } })
    }
}

impl Writer for Variables {
    fn counts(&self) -> RangeInclusive<usize> {
        self.chain.counts()
    }

    fn write(&self, count: usize) -> Exercise {
        let exercise = self.chain.write(count);
        // RULER's example is no turn of its own in a chat.
        Exercise { question: format!("{}{}", self.example, exercise.question), ..exercise }
    }
}

/// One chain in noise.
struct Chain {
    letters: usize,
    random: Random,
}

impl Writer for Chain {
    /// Noises: one for each assignment at least.
    fn counts(&self) -> RangeInclusive<usize> {
        HOPS + 1..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let mut random = self.random.clone();
        let names = different_words(HOPS + 1, self.letters, b'A', &mut random);
        let value = (10_000 + random.below(89_999)).to_string();
        let first = format!("VAR {} = {value}", names[0]);
        // The space at the end is RULER's.
        let hops = names.windows(2).map(|pair| format!("VAR {} = VAR {} ", pair[1], pair[0]));
        let mut places = random.sample(count, HOPS + 1);
        places.sort_unstable();
        let mut assignments = places.into_iter().zip([first].into_iter().chain(hops)).peekable();
        let mut lines = Vec::new();
        for n in 0..count {
            lines.extend(assignments.next_if(|(place, _)| *place == n).map(|(_, assignment)| assignment));
            lines.push(NOISE.into());
        }
        let context = lines.join("\n");
        Exercise {
            shown: None,
            question: format!(
                "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: \
                 Find all variables that are assigned the value {value} in the text above."
            ),
            opening: format!(
                " Answer: According to the chain(s) of variable assignment in the text above, {} variables are assigned the \
                 value {value}, they are: ",
                HOPS + 1
            ),
            answers: names,
        }
    }
}

/// So many different words of so many letters of the alphabet that begins with `first`.
pub(super) fn different_words(count: usize, letters: usize, first: u8, random: &mut Random) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut words = Vec::new();
    while words.len() < count {
        let word: String = (0..letters).map(|_| char::from(first + random.below(26) as u8)).collect();
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}
