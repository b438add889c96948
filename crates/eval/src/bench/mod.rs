//! Measurements: what takes how long, and what keeps how much.

pub mod selectors;
pub mod ttft;
