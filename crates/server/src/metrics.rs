//! What `/metrics` says, as Prometheus reads it.

use crate::error::ApiError;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use runtime::engine::service::PagesInUse;
use runtime::request::RunStats;
use std::time::Duration;

/// Seconds: from a short prompt on a GPU to a long one on a CPU.
const FIRST_TOKEN_S: [f64; 15] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Seconds: an answer may wait for a chunk of another's prompt.
const BETWEEN_TOKENS_S: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];
const DENSITY: [f64; 9] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0];

/// Counts and times since the server began.
pub(crate) struct Metrics {
    registry: Registry,
    pub waiting: Gauge,
    pub running: Gauge,
    first_token: Histogram,
    between_tokens: Histogram,
    density: Histogram,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    new_tokens: Counter,
    preemptions: Counter,
    dense_fallbacks: Counter,
    errors: Family<Kind, Counter>,
    pages: Family<PageUse, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PageUse {
    used_for: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
    status: u16,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sparse_accelerate"),
            waiting: Gauge::default(),
            running: Gauge::default(),
            first_token: Histogram::new(FIRST_TOKEN_S),
            between_tokens: Histogram::new(BETWEEN_TOKENS_S),
            density: Histogram::new(DENSITY),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            new_tokens: Counter::default(),
            preemptions: Counter::default(),
            dense_fallbacks: Counter::default(),
            errors: Family::default(),
            pages: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, .. } = self;
        registry.register("requests_waiting", "Requests that wait for a place in the engine", self.waiting.clone());
        registry.register("requests_running", "Requests that are worked on", self.running.clone());
        let (seconds, first, between) = (Unit::Seconds, &self.first_token, &self.between_tokens);
        registry.register_with_unit("time_to_first_token", "Accepted to first token", seconds, first.clone());
        let help = "Between one piece of an answer's text and the next, mostly a token";
        registry.register_with_unit("between_tokens", help, Unit::Seconds, between.clone());
        let help = "Share of a prompt's (query, key) pairs that attention computed";
        registry.register("density", help, self.density.clone());
        registry.register("prompt_tokens", "Tokens of answered prompts", self.prompt_tokens.clone());
        let help = "Of these, tokens whose keys and values were there already";
        registry.register("cached_prompt_tokens", help, self.cached_tokens.clone());
        registry.register("new_tokens", "Tokens of answers", self.new_tokens.clone());
        let help = "Times that an answer gave its pages to those who began before it, to read them again later";
        registry.register("preemptions", help, self.preemptions.clone());
        let help =
            "Prompts that were read densely though that was not asked for: short ones, and where memory was scarce";
        registry.register("dense_fallbacks", help, self.dense_fallbacks.clone());
        let help = "Pages of 64 tokens for keys and values: of requests that are worked on, kept for prompts that begin alike, free; and of a GPU's copies on the host";
        registry.register("pages", help, self.pages.clone());
        registry.register("errors", "Requests that got an error instead of an answer", self.errors.clone());
    }

    /// So much time lay between two pieces of text.
    pub fn between(&self, time: Duration) {
        self.between_tokens.observe(time.as_secs_f64());
    }

    /// An answer has ended; whether its prompt might have been read sparsely.
    pub fn answered(&self, stats: &RunStats, may_be_sparse: bool) {
        if let Some(ttft_ms) = stats.ttft_ms {
            self.first_token.observe(ttft_ms / 1e3);
            self.density.observe(stats.density);
            self.dense_fallbacks.inc_by((may_be_sparse && stats.density >= 1.0).into());
        }
        self.prompt_tokens.inc_by(stats.prompt_tokens as u64);
        self.cached_tokens.inc_by(stats.cached_tokens as u64);
        self.new_tokens.inc_by(stats.generated_tokens as u64);
        self.preemptions.inc_by(stats.preemptions as u64);
    }

    /// A client was told of an error.
    pub fn failed(&self, error: &ApiError) {
        self.errors.get_or_create(&Kind { kind: error.kind(), status: error.status().as_u16() }).inc();
    }

    /// What pages are used for.
    pub fn pages(&self, PagesInUse { all, of_requests, kept, on_host }: PagesInUse) {
        let free = all - of_requests - kept;
        for (used_for, pages) in [("requests", of_requests), ("kept", kept), ("free", free), ("host", on_host)] {
            self.pages.get_or_create(&PageUse { used_for }).set(pages as i64);
        }
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut all = String::new();
        text::encode(&mut all, &self.registry)?;
        Ok(all)
    }
}
