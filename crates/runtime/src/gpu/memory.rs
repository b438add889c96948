//! What a run takes beside weights and cache, and how long chunks may be for it.

use crate::config::{Experts, ModelConfig};
use crate::precision::Quantization;
use cuda::expert_rows::{ROW_GROUP, SortedRows};
use cuda::route::Choices;
use cuda::rows::Fp8Rows;
use half::bf16;

/// Rows of an MLP, or of experts, that are between its products at a time, at least: enough to fill the device.
pub(super) const MLP_ROWS: usize = 4096;

/// From so many rows on its products get no faster.
const MOST_MLP_ROWS: usize = 16_384;

/// Up to so many rows gate and up are products apart, where the device could make them one: that makes tiles of 256 rows, of which
/// there are too few.
pub(super) const ROWS_APART: usize = 512;

/// Working memory of matrix products, partial results of decoding, page tables.
pub(super) const FIXED_BYTES: usize = 48 << 20;

/// Activations of a model on a device.
pub(super) struct Activations<'a> {
    pub config: &'a ModelConfig,
    /// Of the device.
    pub memory_bytes: usize,
    pub quantization: Option<Quantization>,
    /// Whether gate and up of many rows are one product.
    pub fuses_gate: bool,
}

impl Activations<'_> {
    /// Tokens of a chunk that leave the device busy and its memory to others.
    pub fn chunk_tokens(&self) -> usize {
        // From here on the room of an MLP does not grow.
        let rows = self.mlp_rows();
        let of_one = self.bytes(rows + 1) - self.bytes(rows);
        let fit = self.chunk_bytes().saturating_sub(self.mlp_bytes(rows)) / of_one;
        // At least what fills the device, at most what the longest prompts have; a power of two, so that chunks are equal.
        let fit = fit.clamp(2048, 1 << 16);
        1 << fit.ilog2()
    }

    /// Of a chunk of `len` tokens, logits included.
    pub fn bytes(&self, len: usize) -> usize {
        let Self { config, .. } = self;
        let q_width = config.num_q_heads * config.head_dim;
        let qkv = q_width + 2 * config.num_kv_heads * config.head_dim;
        // What is normed, and what is attended; before it is rounded, too.
        let operands = match self.quantization {
            Some(Quantization::Fp8) => Fp8Rows::bytes(1, config.hidden_size) + Fp8Rows::bytes(1, q_width) + 2 * q_width,
            None => 2 * (config.hidden_size + q_width),
        };
        // What is normalised before the residual stream takes it.
        let branch = if config.output_norms { config.hidden_size } else { 0 };
        // The residual stream, rotations, and ids, positions, slots and tiles; Q, K and V, Q rotated.
        let f32s = config.hidden_size + branch + config.ropes.len() * config.rotary_dim + 4;
        let a_token = 4 * f32s + operands + 2 * (qkv + q_width);
        len * a_token + self.mlp_bytes(len) + 6 * config.hidden_size + 4 * config.vocab_size
    }

    /// Rows of the MLP of all tokens that are between its products at a time: the more, the fewer multiprocessors wait for
    /// others at the end of a product; as many as take a quarter of a chunk's memory.
    pub fn mlp_rows(&self) -> usize {
        let rows = self.chunk_bytes() / 4 / gated_bytes(self.config.dense_mlp_size()).max(1);
        1 << rows.clamp(MLP_ROWS, MOST_MLP_ROWS).ilog2()
    }

    /// Rows of the MLP of all tokens whose gate and up are between products at a time.
    pub fn rows_apart(&self) -> usize {
        if self.fuses_gate { ROWS_APART } else { self.mlp_rows() }
    }

    /// Room of the MLPs.
    fn mlp_bytes(&self, len: usize) -> usize {
        let mixture = self.config.experts.as_ref().map_or(0, |experts| mixture_bytes(self.config, experts, len));
        // Gate and up, and what they make.
        let elements = (2 * len.min(self.rows_apart()) + len.min(self.mlp_rows())) * self.config.dense_mlp_size();
        elements * size_of::<bf16>() + mixture
    }

    /// What a chunk may take beside weights and cache: a fortieth of the device's memory, within limits. A search costs less a
    /// token in longer chunks.
    fn chunk_bytes(&self) -> usize {
        (self.memory_bytes / 40).clamp(900 << 20, 2 << 30)
    }
}

/// What is between the products of a row of an MLP: gate and up, and what they make.
fn gated_bytes(intermediate_size: usize) -> usize {
    3 * intermediate_size * size_of::<bf16>()
}

/// Room of a mixture of experts for a chunk: choices and where their rows are; rows, and what the experts make of them.
fn mixture_bytes(config: &ModelConfig, experts: &Experts, len: usize) -> usize {
    let choices = len * experts.per_token;
    let a_row = config.hidden_size * (size_of::<bf16>() + size_of::<f32>()) + gated_bytes(experts.intermediate_size);
    Choices::bytes(len, experts.per_token)
        + SortedRows::bytes(choices, experts.count)
        + mixture_rows(experts, len) * a_row
}

/// Rows of experts that are between their products at a time.
pub(super) fn mixture_rows(experts: &Experts, len: usize) -> usize {
    SortedRows::most_rows(len * experts.per_token, experts.count).min(MLP_ROWS)
}

// Waves of rows begin where the rows of an expert may.
const _: () = assert!(MLP_ROWS.is_multiple_of(ROW_GROUP));
