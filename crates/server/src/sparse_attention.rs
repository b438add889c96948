//! What every API says of the attention of a prompt.

use runtime::request::RunStats;
use serde::Serialize;

/// What the prompt's attention did; times in milliseconds.
#[derive(Serialize)]
pub(crate) struct SparseAttention {
    density: f64,
    recall: Option<f64>,
    search_ms: f64,
    prefill_ms: f64,
    ttft_ms: Option<f64>,
}

impl SparseAttention {
    pub fn of(stats: &RunStats) -> Self {
        let RunStats { density, recall, search_ms, prefill_ms, ttft_ms, .. } = *stats;
        Self { density, recall, search_ms, prefill_ms, ttft_ms }
    }
}
