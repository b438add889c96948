//! What reading took.

use crate::ops::{AttentionReport, DeviceTimes, sum_of_stages};
use crate::request::{RunStats, StagesMs};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// What attention took and kept of the chunks that went through.
#[derive(Default)]
pub(in crate::engine) struct Spent {
    pub report: AttentionReport,
    pub times: DeviceTimes,
    pub aside: Aside,
}

/// Times of a device that others waited for while a chunk went through the layers, until they are taken to what it took.
#[derive(Clone, Default)]
pub(in crate::engine) struct Aside(Arc<Mutex<DeviceTimes>>);

impl Aside {
    pub fn put(&self, times: DeviceTimes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += times;
    }

    pub fn take(&self) -> DeviceTimes {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Spent {
    /// As the statistics of a prompt of `prompt_tokens` say it; a receipt, and the times of products, where they were asked for.
    pub fn stats(&self, prompt_tokens: usize, receipt: bool, profile: bool) -> RunStats {
        let Self { report, times, .. } = self;
        // What was left before anything was computed has no shares.
        let of_all = |pairs: f64| Some(pairs / report.causal_pairs as f64).filter(|share| share.is_finite());
        RunStats {
            prompt_tokens,
            receipt: receipt.then(|| report.draws.receipt()),
            search_ms: (report.search_time + times.search).as_secs_f64() * 1e3,
            attention_ms: (report.attend_time + times.attention).as_secs_f64() * 1e3,
            search_stages: sum_of_stages(report.search_stages, times.search_stages).map(StagesMs::from),
            products_ms: profile.then_some(times.products.as_secs_f64() * 1e3),
            density: of_all((report.computed_pairs + times.computed_pairs) as f64).unwrap_or(1.0),
            recall: of_all(report.recalled_pairs + times.recalled_pairs as f64),
            predicted_cost: (report.predicted_cost.filter(|cost| cost.dense_steps > 0.0))
                .map(|cost| cost.steps / cost.dense_steps),
            dropped_at_most: report.dropped_pairs_at_most.and_then(of_all),
            ..RunStats::default()
        }
    }
}
