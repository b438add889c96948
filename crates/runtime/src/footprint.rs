//! What models take of a device, as far as that can be said without it.

use crate::config::ModelConfig;
use crate::memory::{MemoryNeed, WeightsNeed};
use crate::weights::TensorInfo;

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
