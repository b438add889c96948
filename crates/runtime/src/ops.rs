//! The operations a decoder is made of. The model is written once over them; a device implements them once.

use crate::config::{ModelConfig, RopePairing};
use crate::kv_cache::{KvCache, Sequence};
use crate::weights::{LoadError, Tensor};
use attention::planner::Planner;
use attention::shape::HeadShape;

/// How the weights of two matrices lie in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacking {
    /// All rows of the first, then all rows of the next.
    Rows,
    /// Alternating so that a device finds row `i` of the gate beside row `i` of the up projection, as
    /// [`Ops::gated_linear`] wants them.
    GateUp,
}

/// What one attention layer needs to know beside its operands.
#[derive(Clone, Copy)]
pub struct AttentionSpec<'a> {
    /// Heads.
    pub heads: HeadShape,
    /// Elements that rotate together.
    pub rope_pairing: RopePairing,
    /// Index of the layer.
    pub layer: usize,
    /// How many positions back a query sees, its own included. A layer whose window is shorter than the keys computes all
    /// pairs inside it, whatever the planner says.
    pub window: Option<usize>,
    /// Who decides what is computed; `None` computes every pair.
    pub planner: Option<&'a dyn Planner>,
    /// Final query rows that must see every key.
    pub last_rows: usize,
}

/// What one attention layer did.
#[derive(Clone, Debug, Default)]
pub struct AttentionReport {
    /// (query, key) pairs computed, over all heads.
    pub computed_pairs: u64,
    /// Causal pairs inside the window, over all heads.
    pub causal_pairs: u64,
    /// Attention mass kept, estimated, times `causal_pairs`.
    pub recalled_pairs: f64,
    /// Upper bound of the attention mass dropped, times `causal_pairs`; nothing where none was asked for.
    pub dropped_pairs_at_most: Option<f64>,
    /// Time to find the plan.
    pub search_time: std::time::Duration,
    /// Time to execute it.
    pub attend_time: std::time::Duration,
}

impl std::ops::AddAssign for AttentionReport {
    fn add_assign(&mut self, other: Self) {
        self.computed_pairs += other.computed_pairs;
        self.causal_pairs += other.causal_pairs;
        self.recalled_pairs += other.recalled_pairs;
        self.dropped_pairs_at_most = match (self.dropped_pairs_at_most, other.dropped_pairs_at_most) {
            (Some(own), Some(other)) => Some(own + other),
            (own, other) => own.or(other),
        };
        self.search_time += other.search_time;
        self.attend_time += other.attend_time;
    }
}

/// A device: where tensors live and what can be done with them.
///
/// *Tokens* are f32 activations, one vector a token; an *operand* is the same in the form the device multiplies. Outputs
/// are written into buffers the caller owns and reuses from layer to layer.
pub trait Ops: Send + Sync {
    /// A weight matrix, ready to multiply.
    type Matrix: Send + Sync;
    /// A norm weight or a bias.
    type Vector: Send + Sync;
    /// f32 activations of a chunk of tokens.
    type Tokens;
    /// The right operand of a product.
    type Operand;
    /// cos and sin of every rotation of a chunk of positions.
    type Rotations;

    /// Name and properties, for people.
    fn name(&self) -> String;

    /// Stacks matrices of equal width into one.
    fn matrix(&self, parts: &[Tensor], stacking: Stacking) -> Result<Self::Matrix, LoadError>;

    /// Bytes that [`matrix`](Self::matrix) takes on the device for `rows x cols`.
    fn matrix_bytes(&self, rows: usize, cols: usize) -> u64;

    /// Concatenates vectors.
    fn vector(&self, parts: &[Tensor]) -> Result<Self::Vector, LoadError>;

    /// Zeroed activations of `len` tokens.
    fn tokens(&self, features: usize, len: usize) -> Self::Tokens;

    /// A zeroed operand of `len` tokens.
    fn operand(&self, features: usize, len: usize) -> Self::Operand;

    /// Rotations of positions `start .. start + len` behind a prompt of `prompt_len` tokens.
    fn rotations(&self, config: &ModelConfig, start: usize, len: usize, prompt_len: usize) -> Self::Rotations;

    /// Looks tokens up in the embedding table.
    fn embed(&self, table: &Tensor, ids: &[u32], out: &mut Self::Tokens);

    /// `out = x / rms(x) * weight`.
    fn rms_norm(&self, x: &Self::Tokens, weight: &Self::Vector, eps: f32, out: &mut Self::Operand);

    /// `out = matrix * x (+ bias)`.
    fn linear(&self, matrix: &Self::Matrix, bias: Option<&Self::Vector>, x: &Self::Operand, out: &mut Self::Tokens);

    /// `out += matrix * x`: a projection back onto the residual stream.
    fn linear_add(&self, matrix: &Self::Matrix, x: &Self::Operand, out: &mut Self::Tokens);

    /// `out = silu(gate * x) . (up * x)`, for a matrix stacked as [`Stacking::GateUp`].
    fn gated_linear(&self, matrix: &Self::Matrix, x: &Self::Operand, out: &mut Self::Operand);

    /// Makes every query and key head of `qkv` `x / rms(x) * weight`; the weights hold `head_dim` elements.
    fn norm_heads(
        &self,
        heads: HeadShape,
        q_weight: &Self::Vector,
        k_weight: &Self::Vector,
        eps: f32,
        qkv: &mut Self::Tokens,
    );

    /// Rotates Q and K of `qkv`, stores K and V of the chunk behind `sequence` in the cache, plans and attends.
    ///
    /// `qkv` holds `[q heads | k heads | v heads]` of the tokens at positions `sequence.len() ..`; the caller advances
    /// the sequence when all layers are done.
    ///
    /// # Errors
    /// When the cache has no room reserved for the chunk.
    fn attention(
        &self,
        spec: AttentionSpec,
        qkv: &mut Self::Tokens,
        rotations: &Self::Rotations,
        cache: &mut KvCache,
        sequence: &Sequence,
        out: &mut Self::Operand,
    ) -> Result<AttentionReport, attention::Error>;

    /// Copies token `token` of `x` into a buffer of one token.
    fn select(&self, x: &Self::Tokens, token: usize, out: &mut Self::Tokens);

    /// Activations of one token, on the host.
    fn read(&self, x: &Self::Tokens, token: usize) -> Vec<f32>;
}
