//! What models take of a device, as far as that can be said without it: known before a run starts.

use crate::config::ModelConfig;
use crate::formats::TensorInfo;
use crate::memory::Bytes;
use std::fmt;
use std::ops::AddAssign;

/// The arithmetic of a device's memory. The engine asks it before it loads and before it runs; a dry run asks nothing else.
pub trait Footprint: Send + Sync {
    /// Tokens of a chunk that suit the device: as many as give it enough to do and take little memory.
    fn chunk_tokens(&self, config: &ModelConfig) -> usize;

    /// What a matrix of a layer takes that is stacked of these parts.
    fn matrix(&self, parts: &[TensorInfo]) -> WeightsNeed;

    /// What the matrix that makes logits takes.
    fn output_head(&self, table: TensorInfo) -> WeightsNeed {
        self.matrix(&[table])
    }

    /// What the token embedding takes beside the matrix that makes logits.
    fn embedding(&self, config: &ModelConfig, table: TensorInfo) -> WeightsNeed;

    /// Memory of a run that ends with `tokens` tokens in the cache and takes its prompt in chunks of `chunk_tokens`, weights
    /// included. Where `sparse`, what finds and executes plans is counted too.
    fn memory_need(
        &self,
        config: &ModelConfig,
        weights: WeightsNeed,
        tokens: usize,
        chunk_tokens: usize,
        sparse: bool,
    ) -> MemoryNeed;
}

/// Bytes of the weights of a model on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightsNeed {
    /// Stored there.
    pub stored_bytes: u64,
    /// Room beside them, which products by one after the other share.
    pub room_bytes: u64,
}

/// Bytes of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights on the device.
    pub weights_bytes: u64,
    /// Keys and values of every token.
    pub kv_cache_bytes: u64,
    /// What layers hand to each other for a chunk of the prompt, and logits.
    pub activations_bytes: u64,
    /// What finds plans, and the plans.
    pub search_bytes: u64,
    /// Working memory of products and of attention.
    pub workspace_bytes: u64,
    /// What the process holds before it holds any of these, where it is on the same memory: code and tokenizer.
    pub program_bytes: u64,
}

impl WeightsNeed {
    /// What is held as soon as they are loaded.
    pub fn total_bytes(&self) -> u64 {
        self.stored_bytes + self.room_bytes
    }
}

impl AddAssign for WeightsNeed {
    fn add_assign(&mut self, other: Self) {
        self.stored_bytes += other.stored_bytes;
        self.room_bytes = self.room_bytes.max(other.room_bytes);
    }
}

impl MemoryNeed {
    /// What is held between runs.
    pub fn held_bytes(&self) -> u64 {
        self.weights_bytes + self.program_bytes
    }

    /// What a run holds beside weights and cache: activations, search and working memory.
    pub fn scratch_bytes(&self) -> u64 {
        self.activations_bytes + self.search_bytes + self.workspace_bytes
    }

    /// All together.
    pub fn total_bytes(&self) -> u64 {
        self.held_bytes() + self.kv_cache_bytes + self.scratch_bytes()
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let program = match self.program_bytes {
            0 => String::new(),
            bytes => format!(", program and tokenizer {}", Bytes(bytes)),
        };
        write!(
            f,
            "{} (weights {}, kv cache {}, scratch {}{})",
            Bytes(self.total_bytes()),
            Bytes(self.weights_bytes),
            Bytes(self.kv_cache_bytes),
            Bytes(self.scratch_bytes()),
            program
        )
    }
}
