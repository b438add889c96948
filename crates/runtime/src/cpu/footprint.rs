//! What models take of the memory of a CPU.

use super::experts::Mixture;
use super::linear::{Matrix, room_bytes};
use crate::config::ModelConfig;
use crate::footprint::{Footprint, MemoryNeed, WeightsNeed};
use crate::formats::TensorInfo;
use ::attention::kv::KvPages;
use ::attention::{BLOCK_M, BLOCK_N};

/// Code, stacks and what the allocator keeps, as measured (`bench/results/memory.json`).
const CODE_BYTES: usize = 16 << 20;

/// Texts, ids, merges and maps of the tokenizer, likewise.
const TOKENIZER_BYTES_PER_TOKEN: usize = 600;

/// Of any CPU: counted as if its instruction set were the one that takes most.
pub struct CpuFootprint {
    /// Worker threads, each of which has room of its own.
    pub threads: usize,
}

impl Footprint for CpuFootprint {
    fn chunk_tokens(&self, _: &ModelConfig) -> usize {
        4096
    }

    fn matrix(&self, parts: &[TensorInfo]) -> WeightsNeed {
        WeightsNeed { stored_bytes: Matrix::bytes(parts), room_bytes: 0 }
    }

    fn embedding(&self, config: &ModelConfig, table: TensorInfo) -> WeightsNeed {
        if config.tie_word_embeddings { WeightsNeed::default() } else { self.matrix(&[table]) }
    }

    /// Scratch is counted at its largest, all heads searched at once.
    fn memory_need(
        &self,
        config: &ModelConfig,
        weights: WeightsNeed,
        tokens: usize,
        chunk_tokens: usize,
        sparse: bool,
    ) -> MemoryNeed {
        let heads = config.heads();
        let chunk = chunk_tokens.min(tokens);
        let q_width = config.num_q_heads * config.head_dim;
        let qkv = q_width + 2 * config.num_kv_heads * config.head_dim;
        let branch = if config.output_norms { config.hidden_size } else { 0 };
        let f32_features = config.hidden_size + branch + qkv + q_width + config.ropes.len() * config.rotary_dim;
        let bf16_features = config.hidden_size + 2 * q_width + config.dense_mlp_size();
        let mixture = config.experts.as_ref().map_or(0, |experts| Mixture::bytes(config, experts, chunk));
        // Where attention multiplies integers, one layer's keys and values once more.
        let rounded = KvPages::page_bytes(heads) as usize * tokens.div_ceil(BLOCK_N);
        let activations = chunk * (4 * f32_features + 2 * bf16_features) + mixture + 4 * config.vocab_size + rounded;

        let (blocks, tiles) = (tokens.div_ceil(BLOCK_N), chunk.div_ceil(BLOCK_M));
        let probes = 16 * 4 * tokens * (2 * tiles.div_ceil(32));
        let gathered = 4 * heads.padded_dim() * (1024 + blocks);
        let levels_and_plan = tiles * blocks * 5;
        let search = if sparse { heads.num_q_heads() * (probes + gathered + levels_and_plan) } else { 0 };
        let rooms = room_bytes(config.hidden_size.max(config.dense_mlp_size()), self.threads);
        MemoryNeed {
            weights_bytes: weights.stored_bytes,
            kv_cache_bytes: KvPages::page_bytes(heads) * (config.num_layers * blocks) as u64,
            activations_bytes: activations as u64,
            search_bytes: search as u64,
            workspace_bytes: weights.room_bytes + rooms as u64,
            program_bytes: (CODE_BYTES + TOKENIZER_BYTES_PER_TOKEN * config.vocab_size) as u64,
        }
    }
}
