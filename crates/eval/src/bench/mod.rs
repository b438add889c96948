//! Timing.

pub mod ttft;
