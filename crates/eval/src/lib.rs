//! Evaluation: does sparse prefill give the same answers, and how much sooner does the first token come?
//!
//! Everything here is *paired*: dense and sparse attention see the same prompts, one after the other, in the same
//! process. A score never stands alone; density, time to first token and a confidence interval stand beside it.
//!
//! - [`tasks`] ask a model something whose right answer is known and count the right answers.
//! - [`bench`](mod@bench) times it.
//! - [`inspect`] draws what heads attend to, and what their plans keep of it; [`report`] are the pages and pictures.
//! - [`samples`] keeps what is finished, for a run that is interrupted; [`origin`] says what it holds for.
//! - [`results`] is the file format of both; [`statistics`] the arithmetic; [`machine`] says where it was measured.
//!
//! Both run over a [`Completer`], which is the engine in the product and a scripted model in the tests.

pub mod bench;
pub mod inspect;
pub mod lock;
pub mod machine;
pub mod origin;
pub mod report;
pub mod reproduction;
pub mod results;
pub mod samples;
pub mod statistics;
pub mod tasks;

mod completer;
mod error;
mod random;

pub use completer::Completer;
pub use error::{EvalError, LEAST_ROUNDS};

#[cfg(test)]
mod scripted_model;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
