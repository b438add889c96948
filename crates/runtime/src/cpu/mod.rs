//! The CPU as a device: bf16 weights in tiles, activations in panels of sixteen tokens.

mod attention;
mod elementwise;
mod linear;

use crate::config::ModelConfig;
use crate::kv_cache::Sequence;
use crate::memory::{MemoryNeed, available_bytes};
use crate::ops::{AttentionReport, AttentionSpec, HeadParameters, Ops, OpsError, Stacking};
use crate::weights::{LoadError, ModelWeights, Tensor, TensorName};
use ::attention::kv::KvPages;
use ::attention::shape::HeadShape;
use ::attention::simd::{LANES, Simd, packed_len};
use ::attention::{Aligned, BLOCK_M, BLOCK_N};
use half::bf16;
use rayon::prelude::*;
use std::sync::Arc;

pub use attention::Rotations;
pub use linear::Matrix;

/// The CPU. Work runs on the rayon pool it is called in.
pub struct Cpu {
    simd: Simd,
}

/// f32 activations `[panel][features, padded to 16][16]`.
pub struct Tokens {
    features: usize,
    len: usize,
    panels: Aligned<f32>,
}

/// bf16 activations in packed panels, features padded to 32 with zeros.
pub struct Operand {
    features: usize,
    len: usize,
    panels: Aligned<bf16>,
}

impl Tokens {
    fn new(features: usize, len: usize) -> Self {
        Self { features, len, panels: Aligned::zeroed(Self::stride_of(features) * len.div_ceil(LANES)) }
    }

    fn stride_of(features: usize) -> usize {
        features.next_multiple_of(LANES) * LANES
    }

    /// Elements from panel to panel.
    fn stride(&self) -> usize {
        Self::stride_of(self.features)
    }
}

impl Operand {
    fn new(features: usize, len: usize) -> Self {
        Self { features, len, panels: Aligned::zeroed(packed_len(features) * len.div_ceil(LANES)) }
    }

    fn stride(&self) -> usize {
        packed_len(self.features)
    }
}

impl Cpu {
    /// The CPU with the given instruction set; see [`Simd::detect`].
    pub fn new(simd: Simd) -> Self {
        Self { simd }
    }
}

impl Ops for Cpu {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    /// Rows are decoded from the model's files when they are looked up.
    type Embedding = Arc<ModelWeights>;
    type Tokens = Tokens;
    type Operand = Operand;
    type Heads = Tokens;
    type MlpRoom = Operand;
    type Positions = Rotations;
    type KvPages = KvPages;

    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.simd.name(), rayon::current_num_threads())
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes()
    }

    /// Scratch is counted at its largest, all heads searched at once.
    fn memory_need(&self, config: &ModelConfig, heads: HeadShape, tokens: usize, chunk_tokens: usize) -> MemoryNeed {
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
        MemoryNeed {
            weights_bytes: MemoryNeed::of_weights(self, config),
            kv_cache_bytes: KvPages::page_bytes(heads) * (config.num_layers * blocks) as u64,
            scratch_bytes: (activations + search) as u64,
        }
    }

    fn matrix(&self, parts: &[Tensor], stacking: Stacking) -> Result<Matrix, LoadError> {
        Ok(Matrix::pack(parts, stacking))
    }

    fn matrix_bytes(&self, rows: usize, cols: usize) -> u64 {
        Matrix::bytes(rows, cols)
    }

    fn vector(&self, parts: &[Tensor]) -> Result<Vec<f32>, LoadError> {
        Ok(parts.iter().flat_map(|part| part.to_f32()).collect())
    }

    fn embedding(&self, weights: &Arc<ModelWeights>, _: &Matrix) -> Result<Arc<ModelWeights>, LoadError> {
        Ok(weights.clone())
    }

    fn embedding_bytes(&self, _: &ModelConfig) -> u64 {
        0
    }

    fn kv_pages(&self, heads: HeadShape, num_pages: usize) -> Result<KvPages, OpsError> {
        Ok(KvPages::new(heads, num_pages))
    }

    fn tokens(&self, features: usize, len: usize) -> Result<Tokens, OpsError> {
        Ok(Tokens::new(features, len))
    }

    fn operand(&self, features: usize, len: usize) -> Result<Operand, OpsError> {
        Ok(Operand::new(features, len))
    }

    fn heads(&self, heads: HeadShape, len: usize) -> Result<Tokens, OpsError> {
        Ok(Tokens::new((heads.num_q_heads() + 2 * heads.num_kv_heads()) * heads.head_dim(), len))
    }

    fn mlp_room(&self, intermediate_size: usize, len: usize) -> Result<Operand, OpsError> {
        Ok(Operand::new(intermediate_size, len))
    }

    fn positions(&self, config: &ModelConfig, sequence: &Sequence, len: usize) -> Result<Rotations, OpsError> {
        Ok(Rotations::new(config, sequence.len(), len, sequence.prompt_len()))
    }

    fn embed(&self, weights: &Arc<ModelWeights>, ids: &[u32], out: &mut Tokens) -> Result<(), OpsError> {
        let table = weights.tensor(TensorName::TokenEmbedding).expect("checked when the weights were opened");
        assert!(ids.len() == out.len && table.cols() == out.features);
        let stride = out.stride();
        out.panels.par_chunks_mut(stride).zip(ids.par_chunks(LANES)).for_each(|(panel, ids)| {
            let mut row = vec![0.0; table.cols()];
            for (lane, &id) in ids.iter().enumerate() {
                table.read_row(id as usize, &mut row);
                for (i, x) in row.iter().enumerate() {
                    panel[i * LANES + lane] = *x;
                }
            }
        });
        Ok(())
    }

    fn rms_norm(&self, x: &mut Tokens, weight: &Vec<f32>, eps: f32, out: &mut Operand) -> Result<(), OpsError> {
        assert!(x.features == weight.len() && x.features == out.features && x.len == out.len);
        let stride = out.stride();
        (x.panels.par_chunks(x.stride()).zip(out.panels.par_chunks_mut(stride))).for_each(|(x, out)| {
            elementwise::rms_norm(self.simd, &x[..weight.len() * LANES], weight, eps, bytemuck::cast_slice_mut(out))
        });
        Ok(())
    }

    fn project_heads(&self, matrix: &Matrix, x: &Operand, out: &mut Tokens) -> Result<(), OpsError> {
        matrix.multiply(self.simd, x, out, false);
        Ok(())
    }

    fn attention(
        &self,
        spec: AttentionSpec,
        parameters: &HeadParameters<Vec<f32>>,
        qkv: &mut Tokens,
        rotations: &mut Rotations,
        pages: &mut KvPages,
        sequence: &Sequence,
        out: &mut Operand,
    ) -> Result<AttentionReport, OpsError> {
        attention::prepare(self.simd, spec, parameters, qkv, rotations);
        Ok(attention::run(self.simd, spec, qkv, pages, sequence, out)?)
    }

    fn linear_add(&self, matrix: &Matrix, x: &Operand, out: &mut Tokens) -> Result<(), OpsError> {
        matrix.multiply(self.simd, x, out, true);
        Ok(())
    }

    fn mlp(
        &self,
        gate_up: &Matrix,
        down: &Matrix,
        x: &Operand,
        gated: &mut Operand,
        out: &mut Tokens,
    ) -> Result<(), OpsError> {
        gate_up.multiply_gated(self.simd, x, gated);
        down.multiply(self.simd, gated, out, true);
        Ok(())
    }

    fn select(&self, x: &Tokens, token: usize, out: &mut Tokens) -> Result<(), OpsError> {
        let panel = &x.panels[token / LANES * x.stride()..][..x.stride()];
        for (out, lanes) in out.panels.chunks_exact_mut(LANES).zip(panel.chunks_exact(LANES)) {
            out[0] = lanes[token % LANES];
        }
        Ok(())
    }

    fn logits(&self, matrix: &Matrix, x: &Operand) -> Result<Vec<f32>, OpsError> {
        let mut out = Tokens::new(matrix.rows(), 1);
        matrix.multiply(self.simd, x, &mut out, false);
        Ok(out.panels.chunks_exact(LANES).take(matrix.rows()).map(|lanes| lanes[0]).collect())
    }
}
