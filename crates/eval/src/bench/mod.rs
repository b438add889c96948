//! Measurements: what takes how long, and what keeps how much.

pub mod ablation;
pub mod crossover;
pub mod growth;
pub mod memory;
pub mod overhead;
pub mod recall;
pub mod search_cost;
pub mod selectors;
pub mod ttft;

mod contest;
mod interleaved;
#[cfg(test)]
mod scripted_times;
