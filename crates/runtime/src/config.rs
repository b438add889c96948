//! What a decoder looks like, whichever file format said so.

/// Model family. The decoder is written once; the family says which optional parts exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2/3 and models of the same shape (SmolLM2, TinyLlama, ...).
    Llama,
    /// Qwen2 and Qwen2.5: bias on Q, K and V.
    Qwen2,
}

/// Which elements of a head rotate together under RoPE.
///
/// Hugging Face files pair element `i` with `i + head_dim / 2`. GGUF files of the Llama family store Q and K rows
/// permuted so that `2 i` pairs with `2 i + 1`; the scores are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `(i, i + head_dim / 2)`.
    Halves,
    /// `(2 i, 2 i + 1)`.
    Adjacent,
}

/// Shape and constants of a decoder-only model. All sizes count elements; checked when read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Model family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_q_heads: usize,
    /// Key/value heads; divides `num_q_heads`.
    pub num_kv_heads: usize,
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Longest sequence the model was trained for, in tokens.
    pub max_context: usize,
    /// RoPE base.
    pub rope_theta: f64,
    /// RoPE pairing of the stored Q and K weights.
    pub rope_pairing: RopePairing,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Whether the output head is the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether Q, K and V have a bias.
    pub qkv_bias: bool,
}
