//! Weights of no training: a model of a given shape to measure on, where its real weights cannot be had.

use super::{Encoding, Tensor};
use crate::config::ModelConfig;
use half::bf16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Numbers that all tensors share: each takes as many as it needs from a place of its own.
pub(super) struct Random {
    matrix: Vec<u8>,
    ones: Vec<u8>,
}

/// Standard deviation of the matrices, as models begin their training with.
const DEVIATION: f32 = 0.02;
const CHUNK: usize = 1 << 16;

impl Random {
    pub(super) fn new(config: &ModelConfig, seed: u64) -> Self {
        let largest = config.vocab_size.max(config.intermediate_size).max(config.num_q_heads * config.head_dim);
        let elements = (largest * config.hidden_size).next_multiple_of(CHUNK) + CHUNK;
        let mut matrix = vec![0; 2 * elements];
        matrix.par_chunks_mut(2 * CHUNK).enumerate().for_each(|(stream, bytes)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(stream as u64);
            for bytes in bytes.chunks_exact_mut(2) {
                // Four bytes, uniform: their sum is near enough to normal, with a standard deviation of 147.8.
                let sum: i32 = random.next_u32().to_le_bytes().into_iter().map(i32::from).sum();
                let x = (sum - 510) as f32 * (DEVIATION / 147.8);
                bytes.copy_from_slice(&bf16::from_f32(x).to_le_bytes());
            }
        });
        let ones = 1f32.to_le_bytes().repeat(largest.max(config.hidden_size));
        Self { matrix, ones }
    }

    /// A tensor of this shape: ones where it is a vector, else random.
    pub(super) fn tensor(&self, rows: usize, cols: usize, place: usize) -> Tensor<'_> {
        if rows == 1 {
            return Tensor { rows, cols, encoding: Encoding::F32, bytes: &self.ones[..4 * cols] };
        }
        let spare = self.matrix.len() / 2 - rows * cols;
        let start = place.wrapping_mul(7919) % (spare + 1);
        Tensor { rows, cols, encoding: Encoding::BF16, bytes: &self.matrix[2 * start..2 * (start + rows * cols)] }
    }
}
