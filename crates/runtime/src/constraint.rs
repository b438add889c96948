//! What an answer must look like: JSON by a schema, a regular expression, a grammar. Tokens that would leave it are never drawn.
//!
//! A [`Constraint`] is compiled against the tokens of a model ([`Engine::constrain`](crate::engine::Engine::constrain)), by the library
//! `llguidance`; each answer is then led by a parser of its own, which is asked before every token. Whether an answer that was cut
//! short ([`FinishReason::Length`](crate::request::FinishReason::Length)) would have become a whole one, nobody knows: only
//! [`FinishReason::End`](crate::request::FinishReason::End) says that it is one.

mod compile;
mod guide;
mod vocabulary;

pub(crate) use compile::with_bounded_space;
pub(crate) use guide::{Allowed, Guide};
use llguidance::Matcher;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
pub(crate) use vocabulary::Vocabulary;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// A JSON object.
    JsonObject,
    /// A JSON value that this JSON schema allows; what `llguidance` knows of draft 2020-12, and nothing that it would pass over.
    JsonSchema(Value),
    /// A text that this regular expression matches as a whole, in the syntax of the crate `regex`.
    Regex(String),
    /// A text of this context-free grammar: Lark's syntax as `llguidance` has it, from the rule `start` on.
    Grammar(String),
}

impl Constraint {
    /// In messages.
    const fn name(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema(_) => "JSON schema",
            Self::Regex(_) => "regular expression",
            Self::Grammar(_) => "grammar",
        }
    }
}

/// A constraint, compiled for the tokens of one engine; for any number of requests to it. To copy it is cheap.
#[derive(Clone)]
pub struct CompiledConstraint {
    source: Arc<Constraint>,
    vocabulary: Arc<Vocabulary>,
    /// At the beginning of an answer.
    start: Arc<Matcher>,
}

/// By what was compiled.
impl PartialEq for CompiledConstraint {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && Arc::ptr_eq(&self.vocabulary, &other.vocabulary)
    }
}

impl fmt::Debug for CompiledConstraint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Why an answer cannot be constrained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// It is no constraint, or none that is known.
    #[error("the {what} cannot be compiled: {problem}")]
    Compile {
        /// Kind of constraint.
        what: &'static str,
        /// What is wrong, and where.
        problem: String,
    },
    /// It is larger than anybody's.
    #[error("the {what} has {bytes} bytes: expected {most} at most; send a simpler one")]
    Size {
        /// Kind of constraint.
        what: &'static str,
        /// Its bytes, of a schema as compact JSON.
        bytes: usize,
        /// Most that are read.
        most: usize,
    },
    /// It would hold everybody up.
    #[error("the {what} takes more than {seconds} s to compile: send a simpler one")]
    Slow {
        /// Kind of constraint.
        what: &'static str,
        /// Time that it had.
        seconds: u64,
    },
    /// The tokens of the model cannot be looked up by their bytes.
    #[error(
        "answers of this model cannot be constrained: its tokens make no tree ({0}); take the model from its publisher again"
    )]
    Vocabulary(String),
    /// It was compiled for another model.
    #[error("the {what} was compiled by another engine: compile it by the one that answers (`Engine::constrain`)")]
    OtherEngine {
        /// Kind of constraint.
        what: &'static str,
    },
    /// The parser gave up within an answer.
    #[error("the answer cannot be led by the {what} any further: {problem}; send a simpler one")]
    Lost {
        /// Kind of constraint.
        what: &'static str,
        /// Why.
        problem: String,
    },
}

/// The first lines of what the library says, without what only its authors read.
fn first_words(message: &str) -> String {
    let end = ["<non-verbose/>", "<backtrace>", "<state>"].iter().filter_map(|mark| message.find(mark)).min();
    message[..end.unwrap_or(message.len())].trim().chars().take(2000).collect()
}
