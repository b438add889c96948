//! The bar of a prompt that is being read.

use super::is_narrow;
use super::prefill_estimate::PrefillEstimate;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::config::ModelConfig;
use runtime::request::Event;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two drawings. Layers of a large model take longer on a CPU; what goes on in them is estimated.
const DRAWN_EVERY: Duration = Duration::from_millis(125);

/// Tokens, rate and time left, drawn on standard error by a thread of its own; nothing where that is no terminal.
pub struct PrefillBar {
    bar: ProgressBar,
    began: Instant,
    estimate: Arc<Mutex<PrefillEstimate>>,
    /// Until it is dropped the thread draws.
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl PrefillBar {
    /// For a prompt of `total` tokens; time runs from here on.
    pub fn new(label: &str, config: &ModelConfig, total: usize) -> Self {
        // With room at the end: a terminal writes ^C there, which must not begin a line.
        let style = ProgressStyle::with_template("{prefix} {msg} {wide_bar}   ").expect("a constant template");
        let bar = ProgressBar::new(total as u64).with_style(style).with_prefix(label.to_string());
        let (began, estimate) = (Instant::now(), PrefillEstimate::new(pair_over_token(config), total));
        let estimate = Arc::new(Mutex::new(estimate));
        let start_drawing = || {
            let (sender, ended) = mpsc::channel();
            let (bar, estimate) = (bar.clone(), estimate.clone());
            let draw = move || {
                while ended.recv_timeout(DRAWN_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let now = began.elapsed().as_secs_f64();
                    let estimate = estimate.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    bar.set_message(message(&estimate, now, is_narrow()));
                    bar.set_position(estimate.tokens(now) as u64);
                }
            };
            // Where the system starts no thread there is no bar.
            thread::Builder::new().spawn(draw).ok().map(|thread| (sender, thread))
        };
        let drawing = if bar.is_hidden() { None } else { start_drawing() };
        Self { bar, began, estimate, drawing }
    }

    /// Hears an event; the bar goes when the whole prompt is read.
    pub fn hear(&mut self, event: &Event) {
        let now = self.began.elapsed().as_secs_f64();
        let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
        match *event {
            Event::Layer { done_layers, layers, done_tokens, chunk_tokens } => {
                estimate.layer((done_layers, layers), done_tokens, chunk_tokens, now);
            }
            Event::Prefill { done_tokens, total_tokens } => {
                estimate.chunk(done_tokens, now);
                drop(estimate);
                if done_tokens == total_tokens {
                    self.clear();
                }
            }
            Event::Chosen(_) | Event::Token(_) | Event::Text(_) => {}
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if let Some((sender, thread)) = self.drawing.take() {
            drop(sender);
            // It cannot fail but by a panic, which was said.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

impl Drop for PrefillBar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn message(estimate: &PrefillEstimate, now: f64, narrow: bool) -> String {
    let (tokens, total) = (estimate.tokens(now), estimate.total_tokens());
    let mut message = match narrow {
        true => format!("{:.0}%", 100.0 * tokens / total as f64),
        false => format!("{tokens:.0} of {total} tokens"),
    };
    if let Some(rate) = estimate.tokens_per_s(now) {
        message += &format!(", {rate:.0}/s");
    }
    if let Some(seconds) = estimate.seconds_left(now) {
        message += &match seconds {
            ..100.0 => format!(", {:.0} s left", seconds.ceil()),
            100.0..6000.0 => format!(", {:.0} min left", (seconds / 60.0).ceil()),
            _ => format!(", {:.1} h left", seconds / 3600.0),
        };
    }
    message
}

/// Multiplications of a (query, key) pair in a layer over those of a token's projections and MLP.
fn pair_over_token(config: &ModelConfig) -> f64 {
    let (queries, keys) = (config.num_q_heads * config.head_dim, config.num_kv_heads * config.head_dim);
    let mlp = config
        .experts
        .as_ref()
        .map_or(config.intermediate_size, |experts| experts.per_token * experts.intermediate_size);
    let of_token = config.hidden_size * (2 * queries + 2 * keys + 3 * mlp);
    (2 * queries) as f64 / of_token as f64
}
