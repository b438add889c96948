//! The CPU as a device: bf16 weights in tiles, activations in panels of sixteen tokens.

mod attention;
mod elementwise;
mod linear;

use crate::config::ModelConfig;
use crate::kv_cache::{KvCache, Sequence};
use crate::ops::{AttentionReport, AttentionSpec, Ops, Stacking};
use crate::weights::{LoadError, Tensor};
use ::attention::Aligned;
use ::attention::shape::HeadShape;
use ::attention::simd::{LANES, Simd, packed_len};
use half::bf16;
use rayon::prelude::*;

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
    type Tokens = Tokens;
    type Operand = Operand;
    type Rotations = Rotations;

    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.simd.name(), rayon::current_num_threads())
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

    fn tokens(&self, features: usize, len: usize) -> Tokens {
        Tokens::new(features, len)
    }

    fn operand(&self, features: usize, len: usize) -> Operand {
        Operand::new(features, len)
    }

    fn rotations(&self, config: &ModelConfig, start: usize, len: usize, prompt_len: usize) -> Rotations {
        Rotations::new(config, start, len, prompt_len)
    }

    fn embed(&self, table: &Tensor, ids: &[u32], out: &mut Tokens) {
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
    }

    fn rms_norm(&self, x: &Tokens, weight: &Vec<f32>, eps: f32, out: &mut Operand) {
        assert!(x.features == weight.len() && x.features == out.features && x.len == out.len);
        let stride = out.stride();
        (x.panels.par_chunks(x.stride()).zip(out.panels.par_chunks_mut(stride))).for_each(|(x, out)| {
            elementwise::rms_norm(self.simd, &x[..weight.len() * LANES], weight, eps, bytemuck::cast_slice_mut(out))
        });
    }

    fn linear(&self, matrix: &Matrix, bias: Option<&Vec<f32>>, x: &Operand, out: &mut Tokens) {
        matrix.multiply(self.simd, x, out, false);
        if let Some(bias) = bias {
            let stride = out.stride();
            out.panels.par_chunks_mut(stride).for_each(|panel| elementwise::add_bias(self.simd, bias, panel));
        }
    }

    fn linear_add(&self, matrix: &Matrix, x: &Operand, out: &mut Tokens) {
        matrix.multiply(self.simd, x, out, true);
    }

    fn gated_linear(&self, matrix: &Matrix, x: &Operand, out: &mut Operand) {
        matrix.multiply_gated(self.simd, x, out);
    }

    fn norm_heads(&self, heads: HeadShape, q_weight: &Vec<f32>, k_weight: &Vec<f32>, eps: f32, qkv: &mut Tokens) {
        let (stride, head_len) = (qkv.stride(), heads.head_dim() * LANES);
        let (q_heads, normed) = (heads.num_q_heads(), heads.num_q_heads() + heads.num_kv_heads());
        qkv.panels.par_chunks_mut(stride).for_each(|panel| {
            for (head, x) in panel.chunks_exact_mut(head_len).take(normed).enumerate() {
                let weight = if head < q_heads { q_weight } else { k_weight };
                elementwise::rms_norm_in_place(self.simd, weight, eps, x);
            }
        });
    }

    fn attention(
        &self,
        spec: AttentionSpec,
        qkv: &mut Tokens,
        rotations: &Rotations,
        cache: &mut KvCache,
        sequence: &Sequence,
        out: &mut Operand,
    ) -> Result<AttentionReport, ::attention::Error> {
        attention::run(self.simd, spec, qkv, rotations, cache.layer_mut(spec.layer), sequence, out)
    }

    fn select(&self, x: &Tokens, token: usize, out: &mut Tokens) {
        let panel = &x.panels[token / LANES * x.stride()..][..x.stride()];
        for (out, lanes) in out.panels.chunks_exact_mut(LANES).zip(panel.chunks_exact(LANES)) {
            out[0] = lanes[token % LANES];
        }
    }

    fn read(&self, x: &Tokens, token: usize) -> Vec<f32> {
        let panel = &x.panels[token / LANES * x.stride()..][..x.features * LANES];
        panel.chunks_exact(LANES).map(|lanes| lanes[token % LANES]).collect()
    }
}
