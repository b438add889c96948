//! What a model's weights take, by what the heads of its files say.

use super::{ExpertPart, LayerPart, LoadError, ModelWeights, TensorName};
use crate::footprint::{Footprint, MemoryNeed, WeightsNeed};
use crate::formats::TensorInfo;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
            WeightsNeed::of(&crate::cpu::CpuFootprint { threads: 1 }, &weights).unwrap().stored_bytes
        };
        let (mlp, experts, router) = (2 * 3 * 64 * 128, 5 * 2 * 3 * 64 * 32, 4 * 5 * 64);
        let all_routed = bytes_of("");
        let one_dense = bytes_of(r#", "mlp_only_layers": [1]"#);
        assert_eq!(one_dense + experts + router, all_routed + mlp);
        // Q, K, V and O; token embedding and output head.
        assert_eq!(all_routed, 3 * (2 * 4 * 64 * 64 + experts + router) + 2 * 2 * 32 * 64);
    }
}
