//! Random operands and plans for what is timed, the same in every run.

mod operands;
mod plan;

pub(crate) use operands::{Random, fill, queries};
pub(crate) use plan::RandomPlan;
