//! A passage or a function among those that stand around it in its text, to be quoted word for word.

use super::texts::Quotable;
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;

/// What is quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A paragraph, asked for by its beginning.
    Passage,
    /// A function, asked for by its name.
    Function,
}

/// A sample.
pub(super) struct Quotation<'t> {
    kind: Kind,
    texts: &'t Quotable,
    /// Which piece is asked for.
    asked: usize,
    /// Share of the other text that stands before it: 0.4 to 0.6.
    depth: f64,
}

impl<'t> Quotation<'t> {
    /// Of texts with something to ask for.
    pub(super) fn new(kind: Kind, texts: &'t Quotable, mut random: Random) -> Self {
        let asked = *random.one_of(&texts.asked);
        Self { kind, texts, asked, depth: 0.4 + 0.2 * random.below(1000) as f64 / 1000.0 }
    }
}

impl Writer for Quotation<'_> {
    /// Other pieces.
    fn counts(&self) -> RangeInclusive<usize> {
        0..=self.texts.pieces.len() - 1
    }

    fn write(&self, count: usize) -> Exercise {
        let pieces = &self.texts.pieces;
        // Before the first piece stands the last.
        let piece_at = |place: usize| pieces[place % pieces.len()].0.as_str();
        let (mut first, mut last) = (self.asked + pieces.len(), self.asked + pieces.len());
        let (mut before, mut others) = (0, 0);
        // Pieces differ in length: the next one stands where text is short of the depth.
        for _ in 0..count {
            let is_before = before as f64 <= self.depth * others as f64;
            let place = if is_before { first - 1 } else { last + 1 };
            if is_before {
                first = place;
                before += piece_at(place).len();
            } else {
                last = place;
            }
            others += piece_at(place).len();
        }
        let all: Vec<&str> = (first..=last).map(piece_at).collect();
        let (piece, beginning) = &pieces[self.asked];
        let (beginning, rest) = piece.split_at(*beginning);
        let (question, opening) = match self.kind {
            Kind::Passage => (
                format!("Quote the passage that begins with \"{beginning}\" word for word, to its end."),
                format!(" The passage, word for word:\n\n{beginning}"),
            ),
            Kind::Function => {
                let name = beginning.trim_start_matches("def ").trim_end_matches('(');
                (
                    format!("Quote the whole function `{name}` word for word."),
                    format!(" The function `{name}`, word for word:\n\n```python\n{beginning}"),
                )
            }
        };
        let (what, gap) = match self.kind {
            Kind::Passage => ("text", "\n\n"),
            Kind::Function => ("source code", "\n\n\n"),
        };
        Exercise {
            shown: None,
            question: format!("Read this {what}.\n\n{}\n\n{question}", all.join(gap)),
            opening,
            answers: vec![rest.into()],
        }
    }
}
