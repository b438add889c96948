//! What transformers takes for fields that a `config.json` leaves away.

use super::Architecture;

/// Epsilon of every norm, the same in all families.
pub(super) const RMS_NORM_EPS: f32 = 1e-6;

/// Default sizes of a family, all in elements or counts.
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
        };
        let qwen = Self {
            intermediate_size: 22_016,
            num_kv_heads: Some(32),
            vocab_size: 151_936,
            max_context: 32_768,
            ..llama
        };
        match architecture {
            Architecture::Llama => llama,
            Architecture::Mistral => {
                Self { intermediate_size: 14_336, num_kv_heads: Some(8), max_context: 131_072, ..llama }
            }
            Architecture::Qwen2 => qwen,
            Architecture::Qwen3 => Self { head_dim: Some(128), ..qwen },
        }
    }
}
