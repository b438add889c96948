//! How much memory a run will hold, known before it starts.

use crate::config::ModelConfig;
use crate::kv_cache::KvCache;
use crate::ops::Ops;
use attention::shape::HeadShape;
use attention::{BLOCK_M, BLOCK_N};
use std::fmt;

/// Bytes of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights on the device.
    pub weights_bytes: u64,
    /// Keys and values of every token.
    pub kv_cache_bytes: u64,
    /// Activations of a chunk, attention and search.
    pub scratch_bytes: u64,
}

impl MemoryNeed {
    /// Of weights alone.
    pub fn of_weights<O: Ops>(ops: &O, config: &ModelConfig) -> u64 {
        let q_width = config.num_q_heads * config.head_dim;
        let qkv = q_width + 2 * config.num_kv_heads * config.head_dim;
        let layer = ops.matrix_bytes(qkv, config.hidden_size)
            + ops.matrix_bytes(config.hidden_size, q_width)
            + ops.matrix_bytes(2 * config.intermediate_size, config.hidden_size)
            + ops.matrix_bytes(config.hidden_size, config.intermediate_size);
        layer * config.num_layers as u64 + ops.matrix_bytes(config.vocab_size, config.hidden_size)
    }

    /// Of a run that ends with `tokens` tokens in the cache and takes its prompt in chunks of `chunk_tokens`.
    ///
    /// Scratch is counted at its largest, all heads searched at once.
    pub fn of_run(
        weights_bytes: u64,
        config: &ModelConfig,
        heads: HeadShape,
        tokens: usize,
        chunk_tokens: usize,
    ) -> Self {
        let chunk = chunk_tokens.min(tokens);
        let q_width = config.num_q_heads * config.head_dim;
        let qkv = q_width + 2 * config.num_kv_heads * config.head_dim;
        let f32_features = config.hidden_size + qkv + q_width;
        let bf16_features = config.hidden_size + 2 * q_width + config.intermediate_size;
        let activations = chunk * (4 * f32_features + 2 * bf16_features) + 4 * (config.vocab_size + config.head_dim);

        let (blocks, tiles) = (tokens.div_ceil(BLOCK_N), chunk.div_ceil(BLOCK_M));
        let probes = 16 * 4 * tokens * (2 * tiles.div_ceil(32));
        let gathered = 4 * heads.padded_dim() * (1024 + blocks);
        let levels_and_plan = tiles * blocks * 5;
        let search = heads.num_q_heads() * (probes + gathered + levels_and_plan);
        Self {
            weights_bytes,
            kv_cache_bytes: KvCache::bytes(heads, config.num_layers, tokens),
            scratch_bytes: (activations + search) as u64,
        }
    }

    /// All together.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.kv_cache_bytes + self.scratch_bytes
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} (weights {}, kv cache {}, scratch {})",
            Bytes(self.total_bytes()),
            Bytes(self.weights_bytes),
            Bytes(self.kv_cache_bytes),
            Bytes(self.scratch_bytes)
        )
    }
}

/// Bytes for people: `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut size = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if size < 1024.0 {
                return if unit == "B" { write!(f, "{size} B") } else { write!(f, "{size:.1} {unit}") };
            }
            size /= 1024.0;
        }
        write!(f, "{size:.1} TiB")
    }
}

/// Memory this process may still take: what the machine has available, or the limit of its control group if lower.
/// `None` where the operating system does not say.
pub fn available_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let available = system.available_memory();
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory < system.total_memory() => Some(limits.free_memory.min(available)),
        _ => Some(available),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let printed: Vec<String> = [0, 1023, 1024, 1 << 20, 3 << 29, 5 << 40].map(|n| Bytes(n).to_string()).to_vec();
        assert_eq!(printed, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB", "5.0 TiB"]);
    }

    #[test]
    fn there_is_memory() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
