//! What a run takes beside weights and cache, and how long chunks may be for it.

use crate::config::ModelConfig;
use crate::weights::Quantization;
use cuda::rows::Fp8Rows;
use half::bf16;

/// Rows of an MLP that are between its products at a time: enough to fill the device, few enough that they take little
/// memory.
pub(super) const MLP_ROWS: usize = 4096;

/// What a chunk may take beside weights and cache: a fortieth of the device's memory, within limits. A search costs less a
/// token in longer chunks.
fn chunk_bytes(memory_bytes: usize) -> usize {
    (memory_bytes / 40).clamp(900 << 20, 2 << 30)
}

/// Working memory of matrix products, partial results of decoding, page tables.
pub(super) const FIXED_BYTES: usize = 48 << 20;

/// Tokens of a chunk that leave a device of so much memory busy and its memory to others.
pub(super) fn chunk_tokens(config: &ModelConfig, memory_bytes: usize, quantization: Option<Quantization>) -> usize {
    // From here on the room of an MLP does not grow.
    let of_one = scratch_bytes(config, MLP_ROWS + 1, quantization) - scratch_bytes(config, MLP_ROWS, quantization);
    let fit = chunk_bytes(memory_bytes).saturating_sub(mlp_bytes(config, MLP_ROWS)) / of_one;
    // At least what fills the device, at most what the longest prompts have; a power of two, so that chunks are equal.
    let fit = fit.clamp(2048, 1 << 16);
    1 << fit.ilog2()
}

/// Activations of a chunk, logits included.
pub(super) fn scratch_bytes(config: &ModelConfig, len: usize, quantization: Option<Quantization>) -> usize {
    let q_width = config.num_q_heads * config.head_dim;
    let qkv = q_width + 2 * config.num_kv_heads * config.head_dim;
    // What is normed, and what is attended; before it is rounded, too.
    let operands = match quantization {
        Some(Quantization::Fp8) => Fp8Rows::bytes(1, config.hidden_size) + Fp8Rows::bytes(1, q_width) + 2 * q_width,
        None => 2 * (config.hidden_size + q_width),
    };
    // What is normalised before the residual stream takes it.
    let branch = if config.output_norms { config.hidden_size } else { 0 };
    // The residual stream, rotations, and ids, positions, slots and tiles; Q, K and V, Q rotated.
    let f32s = config.hidden_size + branch + config.ropes.len() * config.rotary_dim + 4;
    let a_token = 4 * f32s + operands + 2 * (qkv + q_width);
    len * a_token + mlp_bytes(config, len) + 6 * config.hidden_size + 4 * config.vocab_size
}

/// Room of an MLP for a chunk.
fn mlp_bytes(config: &ModelConfig, len: usize) -> usize {
    len.min(MLP_ROWS) * 3 * config.intermediate_size * size_of::<bf16>()
}
