//! The prompt, chunk by chunk, and again what an answer had been where it was suspended.

use super::Answer;
use crate::engine::telling::Telling;
use crate::engine::{EngineError, is_sparse, ms};
use crate::model::Run;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::prefill::{chunk_len, prefill_chunk};
use crate::request::{Events, FinishReason, RunStats};
use std::ops::ControlFlow;

impl Answer<'_> {
    /// Whether the prompt is still being read, or all there was when it was suspended.
    pub fn is_reading(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.tokens_done() < self.to_read)
    }

    /// Tokens of the next chunk that is read.
    pub fn next_chunk(&self) -> usize {
        let done = self.run.as_ref().map_or(0, |run| run.tokens_done());
        chunk_len(done, self.unread(done).len(), self.engine.chunk_tokens).0
    }

    /// Tokens that are to be read; none once it writes.
    pub fn unread_tokens(&self) -> usize {
        self.run.as_ref().map_or(0, |run| self.to_read.saturating_sub(run.tokens_done()))
    }

    /// What is to be read behind so many tokens: the rest of the prompt, then what the answer had been.
    fn unread(&self, done: usize) -> &[u32] {
        match done.checked_sub(self.prompt.len()) {
            None => &self.prompt[done..],
            Some(said) => &self.tokens[said..self.to_read - self.prompt.len()],
        }
    }

    /// Takes the next chunk of what is to be read through the model.
    pub(super) fn read(
        &mut self,
        attention: PrefillAttention,
        events: &mut Events,
    ) -> Result<Option<FinishReason>, EngineError> {
        let mut run = self.run.take().expect("there is no step behind an error");
        let read = self.read_chunk(&mut *run, attention, events);
        self.run = Some(run);
        let goes_on = read?;
        // What is read again was summed up before.
        if self.first_at.is_none() && (!goes_on || !self.is_reading()) {
            self.account()?;
            self.finish_reading(Some(attention));
        }
        if goes_on && !self.is_reading() {
            let run = self.run.as_mut().expect("a chunk went through");
            let last = run.chunk_len() - 1;
            self.outlook = Some(self.choice.look(&mut **run, last)?);
            // From here on tokens come one by one.
            run.rest();
        }
        Ok((!goes_on).then_some(FinishReason::Cancelled))
    }

    /// Whether the listener wants more; of an answer that is read again nobody hears.
    fn read_chunk(
        &mut self,
        run: &mut dyn Run,
        attention: PrefillAttention,
        events: &mut Events,
    ) -> Result<bool, EngineError> {
        let (engine, before, prompt_len) = (self.engine, run.tokens_done(), self.prompt.len());
        let telling = (self.first_at.is_none())
            .then(|| Telling::new(events, engine.config().num_layers, prompt_len, before, engine.chunk_tokens));
        let on_layer = |done_layers: usize| {
            // A GPU has not done yet what it was asked for.
            let is_done = done_layers == 0 || !engine.on_gpu;
            if is_done && telling.as_ref().is_some_and(|telling| telling.layer(done_layers).is_break()) {
                return ControlFlow::Break(());
            }
            attention.tell_progress(done_layers)
        };
        let by = if before < prompt_len { attention } else { PrefillAttention::from(AttentionPolicy::Dense) };
        let told = PrefillAttention { progress: Some(&on_layer), pause: attention.pause, ..by };
        let (report, tokens) = prefill_chunk(run, self.unread(before), engine.chunk_tokens, told)?;
        self.spent.report += report;
        let is_enough = telling.is_some_and(|telling| telling.chunk(run.tokens_done()).is_break());
        Ok(tokens > 0 && !is_enough)
    }

    /// Sums up what reading took; by what attention is known unless no chunk was begun.
    pub(super) fn finish_reading(&mut self, attention: Option<PrefillAttention>) {
        let (engine, receipt) = (self.engine, attention.is_some_and(|attention| attention.receipt.is_some()));
        let sparse = attention.is_some_and(|attention| is_sparse(attention.policy));
        self.stats = RunStats {
            cached_tokens: self.stats.cached_tokens,
            preemptions: self.stats.preemptions,
            prefill_ms: ms(self.accepted),
            predicted_memory_bytes: engine.predicted_memory(self.capacity, sparse).total_bytes(),
            ..self.spent.stats(self.prompt.len(), receipt, engine.options.profile)
        };
    }
}
