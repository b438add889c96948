//! How much memory a run will hold, known before it starts.

mod address_space;
mod control_groups;

use crate::footprint::Footprint;
use crate::weights::{ExpertPart, LayerPart, LoadError, ModelWeights, TensorInfo, TensorName};
use std::fmt;
use std::ops::AddAssign;
use std::path::Path;

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
    /// Of a model by what the heads of its files say.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn of(footprint: &dyn Footprint, weights: &ModelWeights) -> Result<Self, LoadError> {
        let config = weights.config();
        let mut need = footprint.output_head(weights.info(TensorName::OutputHead)?);
        need += footprint.embedding(config, weights.info(TensorName::TokenEmbedding)?);
        for parts in matrices(weights) {
            need += footprint.matrix(&parts?);
        }
        // Routers are f32 on every device.
        let routed = config.experts.iter().map(|experts| {
            let layers = experts.layers.iter().filter(|routed| **routed).count();
            (4 * layers * experts.count * config.hidden_size) as u64
        });
        need.stored_bytes += routed.sum::<u64>();
        Ok(need)
    }

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
    /// Bytes of the host that lie beside the weights while they are loaded, at most: the largest matrix as its file has it, what the
    /// allocator keeps of those before it, and the program itself.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn of_loading(weights: &ModelWeights) -> Result<u64, LoadError> {
        const PROGRAM_BYTES: u64 = 16 << 20;
        let mut largest = 0;
        for name in [TensorName::OutputHead, TensorName::TokenEmbedding] {
            largest = largest.max(weights.info(name)?.bytes());
        }
        for parts in matrices(weights) {
            largest = largest.max(parts?.iter().map(TensorInfo::bytes).sum());
        }
        Ok(2 * largest as u64 + PROGRAM_BYTES)
    }

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

/// The parts of every matrix of every layer, which devices store as one.
fn matrices(weights: &ModelWeights) -> impl Iterator<Item = Result<Vec<TensorInfo>, LoadError>> {
    use LayerPart::*;
    let config = weights.config();
    (0..config.num_layers).flat_map(move |layer| {
        let info = move |part: &LayerPart| weights.info(TensorName::Layer { layer, part: *part });
        let matrices: &[&[LayerPart]] = match config.experts_of(layer) {
            None => &[&[Q, K, V], &[O], &[Gate, Up], &[Down]],
            Some(_) => &[&[Q, K, V], &[O]],
        };
        let experts = config.experts_of(layer).map_or(0, |experts| experts.count);
        let of_experts = (0..experts).flat_map(move |expert| {
            let info = move |part: &ExpertPart| weights.info(TensorName::Expert { layer, expert, part: *part });
            let matrices: [&[ExpertPart]; 2] = [&[ExpertPart::Gate, ExpertPart::Up], &[ExpertPart::Down]];
            matrices.map(|parts| parts.iter().map(info).collect())
        });
        matrices.iter().map(move |parts| parts.iter().map(info).collect()).chain(of_experts)
    })
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

/// Memory this process may still take: what the machine has available, or what its control groups or the limit on its addresses
/// (`ulimit -v`) leave if that is less; pages of files, which the kernel drops on demand, count as available in the first two. `None` where the operating system does not say.
pub fn available_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let limits = [control_groups::left_bytes(Path::new("/")), address_space::left_bytes()];
    limits.into_iter().flatten().chain([system.available_memory()]).min()
}

/// Most memory of the machine that this process held at a time, ever or since it was [forgotten](forget_peak_resident): its
/// own and pages of files it mapped, of which weights are none. Known on Linux.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Counts [`peak_resident_bytes`] anew from what the process holds now. Whether the system can: Linux does.
pub fn forget_peak_resident() -> bool {
    // "5" is to reset the peak, and nothing else; proc(5).
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let printed: Vec<String> = [0, 1023, 1024, 1 << 20, 3 << 29, 5 << 40].map(|n| Bytes(n).to_string()).to_vec();
        assert_eq!(printed, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB", "5.0 TiB"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_held_once_stays_counted_until_it_is_forgotten() {
        let held = vec![1u8; 32 << 20];
        assert!(held.iter().all(|byte| *byte == 1));
        drop(held);
        let peak = peak_resident_bytes().unwrap();
        assert!(peak > 32 << 20);
        // Kernels without page monitoring cannot.
        if forget_peak_resident() {
            assert!(peak_resident_bytes().unwrap() < peak);
        }
    }

    #[test]
    fn loading_takes_the_largest_matrix_twice() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny/llama/config.json");
        let config = crate::config::ModelConfig::from_json(Path::new(folder)).unwrap();
        let matrices = [config.vocab_size, 2 * config.intermediate_size].map(|rows| 2 * rows * config.hidden_size);
        let largest = matrices.into_iter().max().unwrap() as u64;
        let weights = ModelWeights::random(config, crate::weights::RandomWeights::Bf16);
        assert_eq!(MemoryNeed::of_loading(&weights).unwrap(), 2 * largest + (16 << 20));
    }

    /// In layers that have them, all experts and their router; in the others one MLP.
    #[test]
    fn every_expert_counts() {
        let folder = tempfile::tempdir().unwrap();
        let bytes_of = |more: &str| {
            let path = folder.path().join("config.json");
            let config = r#"{"model_type": "qwen3_moe", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
                "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32, "num_experts": 5, "num_experts_per_tok": 2,
                "moe_intermediate_size": 32"#;
            std::fs::write(&path, format!("{config}{more}}}")).unwrap();
            let config = crate::config::ModelConfig::from_json(&path).unwrap();
            let weights = ModelWeights::random(config, crate::weights::RandomWeights::Bf16);
            WeightsNeed::of(&crate::cpu::CpuFootprint, &weights).unwrap().stored_bytes
        };
        let (mlp, experts, router) = (2 * 3 * 64 * 128, 5 * 2 * 3 * 64 * 32, 4 * 5 * 64);
        let all_routed = bytes_of("");
        let one_dense = bytes_of(r#", "mlp_only_layers": [1]"#);
        assert_eq!(one_dense + experts + router, all_routed + mlp);
        // Q, K, V and O; token embedding and output head.
        assert_eq!(all_routed, 3 * (2 * 4 * 64 * 64 + experts + router) + 2 * 2 * 32 * 64);
    }

    #[test]
    fn there_is_memory() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
