//! What models take of the memory of a GPU, whether one is there or not.

use super::memory::{Activations, FIXED_BYTES};
use super::products::quantised;
use super::sizes;
use crate::config::ModelConfig;
use crate::footprint::{Footprint, MemoryNeed, WeightsNeed};
use crate::formats::TensorInfo;
use crate::precision::{AttentionPrecision, Quantization};
use ::attention::BLOCK_N;
use ::attention::shape::QueryRange;
use cuda::Error;
use cuda::attend::Attend;
use cuda::kv::KvPages;
use cuda::rows::Fp8Rows;
use cuda::search::SearchRoom;
use half::bf16;

/// What of a GPU its memory depends on.
#[derive(Clone, Copy, Debug)]
pub struct GpuFootprint {
    pub(super) memory_bytes: usize,
    /// Rows of the tiles that plans are made of.
    pub(super) plan_block_m: usize,
    pub(super) quantization: Option<Quantization>,
    pub(super) attention_precision: AttentionPrecision,
    pub(super) fuses_gate: bool,
}

impl GpuFootprint {
    /// Of a GPU that has so much memory and is not at hand. Of the kernels that such a GPU may have, the one that takes most is
    /// reckoned with.
    ///
    /// # Errors
    /// When no GPU has kernels for the model.
    pub fn without_device(
        memory_bytes: usize,
        config: &ModelConfig,
        quantization: Option<Quantization>,
        attention_precision: AttentionPrecision,
    ) -> Result<Self, Error> {
        sizes::check(config)?;
        let plan_block_m = Attend::least_plan_block_m(config.head_dim, attention_precision)?;
        Ok(Self { memory_bytes, plan_block_m, quantization, attention_precision, fuses_gate: false })
    }

    pub(super) fn activations<'a>(&self, config: &'a ModelConfig) -> Activations<'a> {
        let &Self { memory_bytes, quantization, fuses_gate, .. } = self;
        Activations { config, memory_bytes, quantization, fuses_gate }
    }
}

impl Footprint for GpuFootprint {
    fn chunk_tokens(&self, config: &ModelConfig) -> usize {
        self.activations(config).chunk_tokens()
    }

    fn matrix(&self, parts: &[TensorInfo]) -> WeightsNeed {
        match self.quantization {
            Some(Quantization::Fp8) => {
                let rounded: usize = parts.iter().map(|part| Fp8Rows::bytes(part.rows, part.cols)).sum();
                WeightsNeed { stored_bytes: rounded as u64, room_bytes: 0 }
            }
            None => as_stored(parts),
        }
    }

    fn output_head(&self, table: TensorInfo) -> WeightsNeed {
        as_stored(&[table])
    }

    fn embedding(&self, config: &ModelConfig, table: TensorInfo) -> WeightsNeed {
        match (has_scaled_embedding(config), config.tie_word_embeddings) {
            (true, _) => WeightsNeed { stored_bytes: plain_bytes(&table) as u64, room_bytes: 0 },
            (false, true) => WeightsNeed::default(),
            (false, false) => as_stored(&[table]),
        }
    }

    fn memory_need(
        &self,
        config: &ModelConfig,
        weights: WeightsNeed,
        tokens: usize,
        chunk_tokens: usize,
        sparse: bool,
    ) -> MemoryNeed {
        let heads = config.heads();
        let (pages, chunk) = (tokens.div_ceil(BLOCK_N), chunk_tokens.min(tokens));
        let tiles = QueryRange::new(chunk, tokens).and_then(|range| range.tiles(self.plan_block_m));
        let planned = tiles.ok().filter(|_| sparse);
        let attention = Attend::scratch_bytes(self.attention_precision, heads, tokens, planned);
        let means_bytes = if sparse { KvPages::means_bytes(heads, BLOCK_N) } else { 0 };
        let page_bytes = KvPages::page_bytes(heads, BLOCK_N) + means_bytes;
        MemoryNeed {
            weights_bytes: weights.stored_bytes,
            kv_cache_bytes: page_bytes * (config.num_layers * pages) as u64,
            activations_bytes: self.activations(config).bytes(chunk) as u64,
            search_bytes: planned.map_or(0, |tiles| SearchRoom::bytes(heads, tiles)) as u64,
            workspace_bytes: (FIXED_BYTES + attention) as u64 + weights.room_bytes,
            program_bytes: 0,
        }
    }
}

/// Whether what is looked up is not what is stored: then it takes a table of its own, beside that of tied logits.
pub(super) fn has_scaled_embedding(config: &ModelConfig) -> bool {
    config.scales.embedding != 1.0
}

/// A matrix of these parts, of which quantised ones stay so. Where one is, many rows are multiplied by the matrix in bf16.
fn as_stored(parts: &[TensorInfo]) -> WeightsNeed {
    let is_quantised = |part: &TensorInfo| quantised(part.encoding).is_some();
    let bytes = |part: &TensorInfo| if is_quantised(part) { part.bytes() } else { plain_bytes(part) };
    let room = if parts.iter().any(is_quantised) { parts.iter().map(plain_bytes).sum() } else { 0 };
    WeightsNeed { stored_bytes: parts.iter().map(bytes).sum::<usize>() as u64, room_bytes: room as u64 }
}

/// Bytes of a matrix in bf16.
fn plain_bytes(part: &TensorInfo) -> usize {
    part.rows * part.cols * size_of::<bf16>()
}
