//! One answer, as metrics and logs see it: sizes and times, never its text.

use crate::error::ApiError;
use crate::metrics::Metrics;
use prometheus_client::metrics::gauge::Gauge;
use runtime::engine::service::Heard;
use runtime::request::{AttentionMode, Event, Generation, Request};
use std::sync::Arc;
use std::time::Instant;
use tracing::Span;

/// A request from the queue to its end. Dropped, it is counted no more, however it ended.
pub(crate) struct Observed {
    metrics: Arc<Metrics>,
    /// Carries the id of the request.
    span: Span,
    may_be_sparse: bool,
    /// The one that it is counted in.
    gauge: Option<Gauge>,
    last_text: Option<Instant>,
}

impl Observed {
    /// A request that waits from now on.
    pub fn new(metrics: Arc<Metrics>, request: &Request) -> Self {
        let may_be_sparse = request.attention != AttentionMode::Dense;
        let waiting = metrics.waiting.clone();
        let mut observed = Self { metrics, span: Span::current(), may_be_sparse, gauge: None, last_text: None };
        observed.goes_to(Some(waiting));
        observed
    }

    fn goes_to(&mut self, gauge: Option<Gauge>) {
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        if let Some(left) = std::mem::replace(&mut self.gauge, gauge) {
            left.dec();
        }
    }

    /// What the request hears before its end.
    pub fn hears(&mut self, heard: &Heard) {
        match heard {
            Heard::Began { .. } => self.goes_to(Some(self.metrics.running.clone())),
            Heard::Event(Event::Text(_)) => {
                let now = Instant::now();
                if let Some(last) = self.last_text.replace(now) {
                    self.metrics.between(now - last);
                }
            }
            Heard::Event(_) | Heard::Ended(_) => {}
        }
    }

    /// Its end.
    pub fn ends(&mut self, ended: &Result<Generation, ApiError>) {
        self.goes_to(None);
        let _within = self.span.enter();
        match ended {
            Ok(Generation { stats, finish_reason, .. }) => {
                self.metrics.answered(stats, self.may_be_sparse);
                tracing::info!(
                    prompt_tokens = stats.prompt_tokens,
                    cached_tokens = stats.cached_tokens,
                    new_tokens = stats.generated_tokens,
                    ttft_ms = stats.ttft_ms,
                    density = stats.density,
                    recall = stats.recall,
                    ended = ?finish_reason,
                    "answered"
                );
            }
            Err(error) => {
                self.metrics.failed(error);
                tracing::warn!(kind = error.kind(), "not answered");
            }
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.goes_to(None);
    }
}
