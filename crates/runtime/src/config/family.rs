//! What transformers takes for fields that a `config.json` leaves away.

use super::{Activation, Architecture};

/// Defaults of a family; sizes in elements or counts.
pub(super) struct Family {
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_layers: usize,
    pub(super) num_q_heads: usize,
    /// Nothing: as many as query heads.
    pub(super) num_kv_heads: Option<usize>,
    /// Nothing: the heads share the hidden size.
    pub(super) head_dim: Option<usize>,
    pub(super) vocab_size: usize,
    pub(super) max_context: usize,
    pub(super) rms_norm_eps: f32,
    /// RoPE base.
    pub(super) theta: f64,
    pub(super) activation: Activation,
    pub(super) tie_word_embeddings: bool,
}

impl Family {
    /// The defaults of a family.
    pub(super) fn of(architecture: Architecture) -> Self {
        let llama = Self {
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_layers: 32,
            num_q_heads: 32,
            num_kv_heads: None,
            head_dim: None,
            vocab_size: 32_000,
            max_context: 2048,
            rms_norm_eps: 1e-6,
            theta: 10_000.0,
            activation: Activation::Silu,
            tie_word_embeddings: false,
        };
        let qwen = Self {
            intermediate_size: 22_016,
            num_kv_heads: Some(32),
            vocab_size: 151_936,
            max_context: 32_768,
            ..llama
        };
        match architecture {
            Architecture::Llama | Architecture::Granite => llama,
            Architecture::Mistral => {
                Self { intermediate_size: 14_336, num_kv_heads: Some(8), max_context: 131_072, ..llama }
            }
            Architecture::Qwen2 => qwen,
            Architecture::Qwen3 => Self { head_dim: Some(128), ..qwen },
            Architecture::Qwen3Moe => {
                Self { hidden_size: 2048, intermediate_size: 6144, num_layers: 24, num_kv_heads: Some(4), ..qwen }
            }
            Architecture::Mixtral => Self {
                intermediate_size: 14_336,
                num_kv_heads: Some(8),
                max_context: 131_072,
                rms_norm_eps: 1e-5,
                theta: 1_000_000.0,
                ..llama
            },
            Architecture::Gemma3 => Self {
                hidden_size: 2304,
                intermediate_size: 9216,
                num_layers: 26,
                num_q_heads: 8,
                num_kv_heads: Some(4),
                head_dim: Some(256),
                vocab_size: 262_208,
                max_context: 131_072,
                theta: 1_000_000.0,
                activation: Activation::GeluTanh,
                tie_word_embeddings: true,
                ..llama
            },
            Architecture::Phi3 => Self {
                hidden_size: 3072,
                intermediate_size: 8192,
                vocab_size: 32_064,
                max_context: 4096,
                rms_norm_eps: 1e-5,
                ..llama
            },
            Architecture::SmolLm3 => Self {
                hidden_size: 2048,
                num_layers: 36,
                num_q_heads: 16,
                num_kv_heads: Some(4),
                vocab_size: 128_256,
                max_context: 32_768,
                theta: 2_000_000.0,
                tie_word_embeddings: true,
                ..llama
            },
        }
    }
}
