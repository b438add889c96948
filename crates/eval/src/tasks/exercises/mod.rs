//! Questions about long texts, kind by kind and length by length: written, asked in each attention mode, scored, and compared
//! mode by mode. What a kind asks is its [`Task`]'s affair.

mod compare;
mod exercise;
mod run;
mod task;

pub use compare::{Beside, Lost, Row};
pub use exercise::{Asking, Exercise};
pub use run::{Outcome, Sample, Series};
pub use task::Task;

pub(super) use exercise::Writer;
