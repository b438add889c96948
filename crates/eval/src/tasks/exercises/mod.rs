//! Questions about long texts, kind by kind and length by length: written, asked in several ways, scored, and each way
//! compared with dense attention. What a kind asks is its [`Task`]'s affair.

mod arm;
mod compare;
mod exercise;
mod run;
mod task;

pub use arm::Arm;
pub use compare::{Beside, Lost, Row};
pub use exercise::{Asking, Exercise};
pub use run::{Outcome, Sample, Series};
pub use task::Task;

pub(super) use exercise::Writer;
