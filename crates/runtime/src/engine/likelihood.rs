//! How surprised the model is by the end of a text.

use super::{Engine, EngineError};
use crate::logits::are_numbers;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{Request, RunStats};
use std::ops::ControlFlow;
use std::time::Instant;

impl Engine {
    /// Negative log-likelihood, in nats, of each of the last `tail` tokens of `ids` given all tokens before it, with the
    /// prefill attention of `request`. At most all tokens but the first are rated.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn tail_nll(
        &mut self,
        ids: &[u32],
        tail: usize,
        request: &Request,
    ) -> Result<(Vec<f64>, RunStats), EngineError> {
        let search = self.search_with_room(request, ids.len(), ids.len())?;
        let policy = AttentionPolicy::from(search.as_ref());
        let attention = PrefillAttention { receipt: request.receipt, ..policy.into() };
        self.tail_nll_with(ids, tail, attention)
    }

    /// As [`tail_nll`](Self::tail_nll), by a policy of the caller's.
    ///
    /// # Errors
    /// As there, and what the policy refuses.
    pub fn tail_nll_with<'p>(
        &mut self,
        ids: &[u32],
        tail: usize,
        attention: impl Into<PrefillAttention<'p>>,
    ) -> Result<(Vec<f64>, RunStats), EngineError> {
        let accepted = Instant::now();
        let attention = attention.into();
        let (_, prompt) = ids.split_last().ok_or(EngineError::EmptyPrompt)?;
        self.check_prompt(ids, 1, attention)?;
        self.check_prompt(prompt, 1, attention)?;
        let first = prompt.len().saturating_sub(tail);
        let (mut nll, mut no_number_at) = (Vec::new(), None);
        let stats = self.pool.install(|| {
            let mut run = self.model.start(prompt.len(), prompt.len())?;
            self.prefill(&mut *run, prompt, attention, accepted, &mut |run| {
                let start = run.tokens_done() - run.chunk_len();
                for position in first.max(start)..run.tokens_done() {
                    let logits = run.logits(position - start)?;
                    if !are_numbers(&logits) {
                        no_number_at.get_or_insert(position + 1);
                    }
                    nll.push(surprise(&logits, ids[position + 1]));
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        match no_number_at {
            None => Ok((nll, stats)),
            Some(position) => Err(self.pool.install(|| self.no_number(position, prompt, &[], attention.policy))),
        }
    }
}

/// Negative logarithm of the probability of `token`, in nats.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let sum: f64 = logits.iter().map(|&x| (x as f64 - top).exp()).sum();
    top + sum.ln() - logits[token as usize] as f64
}
