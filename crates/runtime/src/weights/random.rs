//! Weights of no training: a model of a given shape to measure on, where its real weights cannot be had.

use super::{Encoding, LoadError, Tensor, TensorInfo};
use crate::config::ModelConfig;
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::sync::OnceLock;

/// How random matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomWeights {
    /// bf16.
    Bf16,
    /// Four bits, as GGUF's Q4_0.
    Q4_0,
}

/// Numbers that all tensors share: each takes as many as it needs from a place of its own.
pub(super) struct Random {
    kind: RandomWeights,
    encoding: Encoding,
    seed: u64,
    /// Elements of the largest matrix, and of the longest vector.
    largest: (usize, usize),
    /// Made for the first tensor: who asks for shapes only does not wait for them.
    numbers: OnceLock<Numbers>,
}

struct Numbers {
    matrix: Vec<u8>,
    ones: Vec<u8>,
}

/// Standard deviation of the matrices, as models begin their training with.
const DEVIATION: f32 = 0.02;
/// Elements of a stream of random numbers, whole blocks of every encoding.
const CHUNK: usize = 1 << 16;

impl Random {
    pub(super) fn new(config: &ModelConfig, kind: RandomWeights, seed: u64) -> Self {
        let encoding = match kind {
            RandomWeights::Bf16 => Encoding::BF16,
            RandomWeights::Q4_0 => Encoding::Q4_0,
        };
        let of_experts = config.experts.as_ref().map_or(0, |experts| experts.intermediate_size.max(experts.count));
        let largest = [config.vocab_size, config.intermediate_size, config.num_q_heads * config.head_dim, of_experts];
        let largest = largest.into_iter().fold(0, usize::max);
        let largest = (largest * config.hidden_size, largest.max(config.hidden_size));
        Self { kind, encoding, seed, largest, numbers: OnceLock::new() }
    }

    fn numbers(&self) -> &Numbers {
        self.numbers.get_or_init(|| self.make_numbers())
    }

    fn make_numbers(&self) -> Numbers {
        let &Self { kind, encoding, seed, largest: (largest, longest), .. } = self;
        let elements = largest.next_multiple_of(CHUNK) + CHUNK;
        let bytes_of = |elements: usize| encoding.row_bytes(elements).expect("whole blocks");
        let mut matrix = vec![0; bytes_of(elements)];
        matrix.par_chunks_mut(bytes_of(CHUNK)).enumerate().for_each(|(stream, bytes)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(stream as u64);
            match kind {
                RandomWeights::Bf16 => bytes.chunks_exact_mut(2).for_each(|x| {
                    x.copy_from_slice(&bf16::from_f32(DEVIATION * nearly_normal(random.next_u32())).to_le_bytes())
                }),
                RandomWeights::Q4_0 => bytes.chunks_exact_mut(Encoding::Q4_0.block().1).for_each(|block| {
                    // Sixteen steps, uniform, have a standard deviation of 4.6.
                    block[..2].copy_from_slice(&f16::from_f32(DEVIATION / 4.6).to_le_bytes());
                    random.fill_bytes(&mut block[2..]);
                }),
            }
        });
        let ones = 1f32.to_le_bytes().repeat(longest);
        Numbers { matrix, ones }
    }

    /// Shape and encoding of a tensor.
    pub(super) fn info(&self, rows: usize, cols: usize) -> Result<TensorInfo, LoadError> {
        let encoding = if rows == 1 { Encoding::F32 } else { self.encoding };
        match encoding.row_bytes(cols) {
            Some(_) => Ok(TensorInfo { rows, cols, encoding }),
            None => Err(LoadError::RandomRow { cols, elements: encoding.block().0 }),
        }
    }

    /// A tensor of this shape: ones where it is a vector, else random.
    pub(super) fn tensor(&self, rows: usize, cols: usize, place: usize) -> Result<Tensor<'_>, LoadError> {
        let (info, Numbers { matrix, ones }) = (self.info(rows, cols)?, self.numbers());
        let bytes = info.bytes();
        if rows == 1 {
            return Ok(Tensor::new(info, &ones[..bytes]));
        }
        let (_, block_bytes) = self.encoding.block();
        let spare = (matrix.len() - bytes) / block_bytes;
        let start = place.wrapping_mul(7919) % (spare + 1) * block_bytes;
        Ok(Tensor::new(info, &matrix[start..start + bytes]))
    }
}

/// The sum of four uniform bytes is near enough to normal; theirs has a mean of 510 and a standard deviation of 147.8.
fn nearly_normal(bits: u32) -> f32 {
    let sum: i32 = bits.to_le_bytes().into_iter().map(i32::from).sum();
    (sum - 510) as f32 / 147.8
}
