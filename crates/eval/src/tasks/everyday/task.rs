//! The tasks.

use super::facts::Facts;
use super::quotation::{Kind, Quotation};
use super::records::{List, RECORDS, Table};
use super::tool_call::ToolCall;
use super::{Texts, score};
use crate::random::Random;
use crate::tasks::exercises::{self, Asking, Exercise, Writer};
use crate::tasks::retrieval::first_number;
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A tool to be called by its schema, which stands in the middle of others.
    ToolCall,
    /// A paragraph to be quoted by its beginning.
    QuotePassage,
    /// A Python function to be quoted by its name.
    QuoteFunction,
    /// A fact in the middle of notes.
    Middle,
    /// A fact that is stated, and changed later.
    Update,
    /// A table to be copied.
    Table,
    /// Items of a numbered list to be written out.
    List,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 7] =
        [Task::ToolCall, Task::QuotePassage, Task::QuoteFunction, Task::Middle, Task::Update, Task::Table, Task::List];

    /// As commands and files spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Task::ToolCall => "tool_call",
            Task::QuotePassage => "quote_passage",
            Task::QuoteFunction => "quote_function",
            Task::Middle => "middle",
            Task::Update => "update",
            Task::Table => "table",
            Task::List => "list",
        }
    }
}

impl exercises::Task for Task {
    type Sources = Texts;

    fn name(self) -> &'static str {
        Task::name(self)
    }

    fn answer_tokens(self) -> usize {
        match self {
            Task::ToolCall => 96,
            Task::QuotePassage | Task::QuoteFunction => 256,
            Task::Middle | Task::Update => 16,
            Task::Table | Task::List => 24 * RECORDS,
        }
    }

    fn exercise(
        self,
        words: &WordTokens<impl Completer>,
        asking: Asking,
        texts: &Texts,
        [length, sample]: [usize; 2],
        seed: u64,
    ) -> Result<Exercise, EvalError> {
        let limit = length.saturating_sub(exercises::Task::answer_tokens(self));
        let random = Random::of(seed, &[self as u64, length as u64, sample as u64]);
        match self {
            Task::ToolCall => ToolCall(random).fit(words, asking, limit),
            Task::QuotePassage => {
                Quotation::new(Kind::Passage, texts.quotable(self)?, random).fit(words, asking, limit)
            }
            Task::QuoteFunction => {
                Quotation::new(Kind::Function, texts.quotable(self)?, random).fit(words, asking, limit)
            }
            Task::Middle => Facts::in_the_middle(random).fit(words, asking, limit),
            Task::Update => Facts::changed(random).fit(words, asking, limit),
            Task::Table => Table(random).fit(words, asking, limit),
            Task::List => List(random).fit(words, asking, limit),
        }
    }

    fn found(self, exercise: &Exercise, answer: &str) -> (usize, usize) {
        // What the last line of the opening has begun is a part of what is answered.
        let begun = exercise.opening.rsplit('\n').next().unwrap_or_default();
        let right = exercise.answers.concat();
        match self {
            Task::ToolCall => score::call(&format!("{begun}{answer}"), &right),
            Task::QuotePassage | Task::QuoteFunction => (score::similarity(answer, &right), score::WHOLE),
            Task::Middle | Task::Update => (usize::from(first_number(answer) == Some(&right)), 1),
            Task::Table | Task::List => {
                let lines = score::lines_before_a_difference(&format!("{begun}{answer}"), &exercise.answers);
                (lines, exercise.answers.len())
            }
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}
