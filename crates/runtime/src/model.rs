//! A model on whichever device, and one prompt in it.

use crate::config::ModelConfig;
use crate::decoder::{Activations, Decoder};
use crate::kv_cache::{KvCache, Sequence};
use crate::memory::MemoryNeed;
use crate::ops::{AttentionReport, Ops, OpsError};
use attention::planner::Planner;

/// A loaded model.
pub trait Model: Send + Sync {
    /// Its shape.
    fn config(&self) -> &ModelConfig;

    /// The device, with what matters of it.
    fn device_name(&self) -> String;

    /// Memory of the device that is free; `None` where nobody says.
    fn available_bytes(&self) -> Option<u64>;

    /// Memory of a run of `tokens` tokens, prompt and new ones, whose prompt comes in chunks of `chunk_tokens`; weights
    /// included.
    fn memory_need(&self, tokens: usize, chunk_tokens: usize) -> MemoryNeed;

    /// Begins a sequence of `tokens` tokens in all, of which the first `prompt_len` are the prompt.
    ///
    /// # Errors
    /// When the device has no room.
    fn start(&self, prompt_len: usize, tokens: usize) -> Result<Box<dyn Run + '_>, OpsError>;
}

/// One sequence on its way through a model.
pub trait Run: Send {
    /// Tokens done.
    #[allow(clippy::len_without_is_empty)] // of no use
    fn len(&self) -> usize;

    /// Tokens of the last chunk.
    fn chunk_len(&self) -> usize;

    /// Takes the next tokens through all layers; see [`Decoder::forward`].
    ///
    /// # Errors
    /// As there.
    fn forward(
        &mut self,
        ids: &[u32],
        planner: Option<&dyn Planner>,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError>;

    /// Logits `[vocab_size]` of the token after `token` of the last chunk.
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    ///
    /// # Panics
    /// When nothing went through yet.
    fn logits(&self, token: usize) -> Result<Vec<f32>, OpsError>;
}

struct Running<'a, O: Ops> {
    decoder: &'a Decoder<O>,
    cache: KvCache<O>,
    sequence: Sequence,
    activations: Option<Activations<O>>,
}

impl<O: Ops> Model for Decoder<O> {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn device_name(&self) -> String {
        self.ops().name()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.ops().available_bytes()
    }

    fn memory_need(&self, tokens: usize, chunk_tokens: usize) -> MemoryNeed {
        self.ops().memory_need(self.config(), self.heads(), tokens, chunk_tokens)
    }

    fn start(&self, prompt_len: usize, tokens: usize) -> Result<Box<dyn Run + '_>, OpsError> {
        let mut cache = self.kv_cache(tokens)?;
        let mut sequence = Sequence::of_prompt(prompt_len);
        cache.reserve(&mut sequence, tokens).expect("the cache was made for this sequence");
        Ok(Box::new(Running { decoder: self, cache, sequence, activations: None }))
    }
}

impl<O: Ops> Run for Running<'_, O> {
    fn len(&self) -> usize {
        self.sequence.len()
    }

    fn chunk_len(&self) -> usize {
        self.activations.as_ref().map_or(0, Activations::len)
    }

    fn forward(
        &mut self,
        ids: &[u32],
        planner: Option<&dyn Planner>,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError> {
        // The old ones go before the new ones come.
        let activations = match self.activations.take().filter(|activations| activations.len() == ids.len()) {
            Some(activations) => activations,
            None => self.decoder.activations(ids.len())?,
        };
        let activations = self.activations.insert(activations);
        self.decoder.forward(ids, activations, &mut self.cache, &mut self.sequence, planner, last_rows)
    }

    fn logits(&self, token: usize) -> Result<Vec<f32>, OpsError> {
        self.decoder.logits(self.activations.as_ref().expect("some tokens went through"), token)
    }
}
