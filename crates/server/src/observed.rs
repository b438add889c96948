//! One answer, as metrics, logs and traces see it: sizes and times, never its text.

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::traces::AnswerTrace;
use prometheus_client::metrics::gauge::Gauge;
use runtime::engine::service::Heard;
use runtime::request::{AttentionMode, Event, Generation, Request};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

/// A request from the queue to its end. Dropped, it is counted no more, however it ended.
pub(crate) struct Observed {
    metrics: Arc<Metrics>,
    /// Carries the id of the request.
    span: Span,
    trace: AnswerTrace,
    may_be_sparse: bool,
    /// The one that it is counted in.
    gauge: Option<Gauge>,
    last_text: Option<Instant>,
    /// Of the answers that may be there at a time.
    _places: Arc<OwnedSemaphorePermit>,
}

impl Observed {
    /// A request that waits from now on.
    pub fn new(metrics: Arc<Metrics>, request: &Request, places: Arc<OwnedSemaphorePermit>) -> Self {
        let may_be_sparse = request.attention != AttentionMode::Dense;
        let waiting = metrics.waiting.clone();
        let (span, trace) = (Span::current(), AnswerTrace::waits());
        let mut observed = Self { metrics, span, trace, may_be_sparse, gauge: None, last_text: None, _places: places };
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
            Heard::Began { cached_tokens, .. } => {
                self.goes_to(Some(self.metrics.running.clone()));
                self.trace.reads(*cached_tokens);
            }
            Heard::Event(Event::Text(_)) => {
                let now = Instant::now();
                match self.last_text.replace(now) {
                    Some(last) => self.metrics.between(now - last),
                    None => self.trace.writes(),
                }
            }
            Heard::Event(_) | Heard::Ended(_) => {}
        }
    }

    /// Its end.
    pub fn ends(&mut self, ended: Result<&Generation, &ApiError>) {
        self.goes_to(None);
        self.trace.ends(ended);
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
