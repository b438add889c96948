//! What a decoder looks like, whichever file format said so.

mod experts;
mod family;
mod gguf;
mod hugging_face;
mod rope;
mod scales;

use crate::formats::FileError;
use crate::formats::gguf::GgufError;
use attention::shape::HeadShape;
use std::path::PathBuf;
use std::str::FromStr;

pub use experts::Experts;
pub(crate) use experts::MAX_EXPERTS;
pub(crate) use gguf::ROPE_TABLES;
pub use rope::{Rope, RopeScaling};
pub use scales::Scales;

/// Model family. The decoder is written once; the family says which optional parts exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2/3 and models of the same shape (SmolLM2, TinyLlama, ...).
    Llama,
    /// Mistral: Llama with a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: bias on Q, K and V.
    Qwen2,
    /// Qwen3: an RMS norm over each query and key head.
    Qwen3,
    /// Gemma 3: norms on both sides of attention and MLP, a GELU gate, windows in most layers.
    Gemma3,
    /// Phi-3, Phi-3.5 and Phi-4-mini: fused projections, LongRoPE.
    Phi3,
    /// SmolLM3: layers without RoPE.
    SmolLm3,
    /// Granite 3: constant factors.
    Granite,
    /// Qwen3 with a mixture of experts in place of the MLP, in all layers or in some.
    Qwen3Moe,
    /// Mixtral: Mistral with a mixture of experts in place of every MLP.
    Mixtral,
}

/// What an MLP does to its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`.
    GeluTanh,
}

/// Which elements of a head rotate together under RoPE.
///
/// Hugging Face files pair element `i` with `i + rotary_dim / 2`. GGUF files of the Llama family store Q and K rows
/// permuted so that `2 i` pairs with `2 i + 1`; the scores are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `(i, i + rotary_dim / 2)`.
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
    /// Width of the MLP, where it is not a mixture of experts.
    pub intermediate_size: usize,
    /// Mixtures of experts, where layers have such.
    pub experts: Option<Experts>,
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
    /// Rotary position embeddings, at least one. The first is what [`stretch`](Self::stretch) stretches.
    pub ropes: Vec<Rope>,
    /// Which of them each layer has.
    pub layer_ropes: Vec<usize>,
    /// Elements of a head that rotate, the first ones; even. The rest has no position.
    pub rotary_dim: usize,
    /// RoPE pairing of the stored Q and K weights.
    pub rope_pairing: RopePairing,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Added to stored norm weights.
    pub norm_offset: f32,
    /// Whether what attention and MLP give is normalised before the residual stream takes it.
    pub output_norms: bool,
    /// What the MLP does to its gate.
    pub activation: Activation,
    /// Constant factors.
    pub scales: Scales,
    /// Whether the output head is the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether Q, K and V have a bias.
    pub qkv_bias: bool,
    /// Whether each query and key head is normalised before it is rotated.
    pub qk_norm: bool,
    /// For each layer how many positions back it sees, its own included; `None` sees all.
    pub windows: Vec<Option<usize>>,
}

/// Why a config could not be read from its file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// A file that does not hold.
    #[error(transparent)]
    File(#[from] FileError),
    /// A model this engine cannot run.
    #[error("{}: {error}", path.display())]
    Config {
        /// File.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
}

/// Why a model cannot be run by this engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Another model family.
    #[error(
        "architecture `{0}` is not supported: this version runs llama (Llama 2/3, SmolLM2, TinyLlama), mistral, qwen2 (Qwen2, Qwen2.5), qwen3, gemma3 (text), phi3 (Phi-3, Phi-4-mini), smollm3, granite (Granite 3), qwen3_moe and mixtral"
    )]
    Architecture(String),
    /// A feature that would change the answers if ignored.
    #[error("{0} is not supported yet; answers without it would be wrong")]
    Unsupported(String),
    /// Sizes that cannot be.
    #[error("{what} is {found}: expected {expected}")]
    Size {
        /// Which size.
        what: &'static str,
        /// What is there.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Two scalings at once.
    #[error("the model's own files scale RoPE already: leave `EngineOptions::stretch` away")]
    Stretched,
    /// GGUF metadata that does not hold.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// A way to read prompts longer than the model was trained for, asked for by the user: `yarn:4`, `dynamic:2` or `linear:2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StretchContext {
    kind: StretchKind,
    factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum StretchKind {
    Yarn,
    Dynamic,
    Linear,
}

impl FromStr for StretchContext {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("a RoPE scaling is yarn:4, dynamic:2 or linear:2, not `{s}`");
        let (kind, factor) = s.split_once(':').ok_or_else(wrong)?;
        let kind = match kind {
            "yarn" => StretchKind::Yarn,
            "dynamic" => StretchKind::Dynamic,
            "linear" => StretchKind::Linear,
            _ => return Err(wrong()),
        };
        match factor.parse() {
            Ok(factor) if (1.0..=1024.0).contains(&factor) => Ok(Self { kind, factor }),
            _ => Err(format!("the factor of a RoPE scaling is 1 to 1024, not `{factor}`")),
        }
    }
}

/// Far above any model that exists, far below where products of sizes overflow.
const MAX_SIZE: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;

impl ModelConfig {
    /// Heads of every attention layer.
    pub fn heads(&self) -> HeadShape {
        HeadShape::new(self.num_q_heads, self.num_kv_heads, self.head_dim).expect("checked when the config was read")
    }

    /// The experts of a layer, where it has a mixture of such in place of one MLP.
    pub fn experts_of(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|experts| experts.layers[layer])
    }

    /// Width of the widest MLP that is not an expert; 0 where there is none.
    pub fn dense_mlp_size(&self) -> usize {
        let all_routed = self.experts.as_ref().is_some_and(|experts| experts.layers.iter().all(|routed| *routed));
        if all_routed { 0 } else { self.intermediate_size }
    }

    /// For each of [`ropes`](Self::ropes), radians a position of each pair, and the factor of cos and sin, for a prompt of
    /// `prompt_len` tokens. The factor of attention is in it, half with the queries and half with the keys.
    pub fn rotations(&self, prompt_len: usize) -> impl Iterator<Item = (Vec<f64>, f64)> {
        let scale = (self.scales.attention as f64).sqrt();
        self.ropes.iter().map(move |rope| {
            let (frequencies, factor) = rope.frequencies(self.rotary_dim, prompt_len);
            (frequencies, factor * scale)
        })
    }

    /// Tokens of the shortest prompt that rotates as one of `prompt_len` does: prompts for which it is the same rotate alike.
    pub fn least_alike(&self, prompt_len: usize) -> usize {
        self.ropes.iter().map(|rope| rope.least_alike(prompt_len)).max().unwrap_or(0)
    }

    /// Stretches the context, from what the model was trained for.
    ///
    /// # Errors
    /// When the model is stretched already.
    pub fn stretch(&mut self, stretch: StretchContext) -> Result<(), ConfigError> {
        if self.ropes[0].scaling != RopeScaling::None {
            return Err(ConfigError::Stretched);
        }
        let (factor, original) = (stretch.factor, self.max_context);
        self.ropes[0].scaling = match stretch.kind {
            StretchKind::Linear => RopeScaling::Linear { factor },
            StretchKind::Dynamic => RopeScaling::Dynamic { factor, original },
            StretchKind::Yarn => RopeScaling::Yarn {
                factor,
                original,
                attention_factor: Rope::yarn_attention_factor(factor, 1.0),
                beta_fast: 32.0,
                beta_slow: 1.0,
                truncate: true,
            },
        };
        self.max_context = stretched(original, factor);
        Ok(())
    }

    /// Sets the context, in tokens, in place of what the files say. Positions turn as they did.
    ///
    /// # Errors
    /// When it is 0 or beyond counting.
    pub fn set_context(&mut self, tokens: usize) -> Result<(), ConfigError> {
        if tokens == 0 || tokens > i32::MAX as usize {
            let expected = format!("1 to {}", i32::MAX);
            return Err(ConfigError::Size { what: "context length", found: tokens.to_string(), expected });
        }
        self.max_context = tokens;
        Ok(())
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let sizes = [
            ("hidden size", self.hidden_size, MAX_SIZE),
            ("MLP size", self.intermediate_size, MAX_SIZE),
            ("number of layers", self.num_layers, MAX_LAYERS),
            ("number of query heads", self.num_q_heads, MAX_LAYERS),
            ("number of kv heads", self.num_kv_heads, MAX_LAYERS),
            ("head size", self.head_dim, 512),
            ("vocabulary size", self.vocab_size, MAX_SIZE),
            ("context length", self.max_context, i32::MAX as usize),
        ];
        for (what, size, most) in sizes {
            if size == 0 || size > most {
                return Err(ConfigError::Size { what, found: size.to_string(), expected: format!("1 to {most}") });
            }
        }
        if let Some(experts) = &self.experts {
            experts.check()?;
        }
        if !self.num_q_heads.is_multiple_of(self.num_kv_heads) {
            return Err(ConfigError::Size {
                what: "number of query heads",
                found: self.num_q_heads.to_string(),
                expected: format!("a multiple of the {} kv heads", self.num_kv_heads),
            });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::Size {
                what: "head size",
                found: self.head_dim.to_string(),
                expected: "an even number".into(),
            });
        }
        if self.rotary_dim == 0 || self.rotary_dim > self.head_dim || !self.rotary_dim.is_multiple_of(2) {
            return Err(ConfigError::Size {
                what: "number of rotated elements of a head",
                found: self.rotary_dim.to_string(),
                expected: format!("an even number up to {}", self.head_dim),
            });
        }
        if let Some((what, found, expected)) = self.ropes.iter().find_map(|rope| rope.wrong(self.rotary_dim)) {
            return Err(ConfigError::Size { what, found, expected: expected.into() });
        }
        if self.rotary_dim < self.head_dim && self.scales.attention != 1.0 {
            let what = "RoPE over a part of each head, of a model that scales attention in its own way,";
            return Err(ConfigError::Unsupported(what.into()));
        }
        if let Some((what, found)) = self.scales.wrong() {
            return Err(ConfigError::Size { what, found: found.to_string(), expected: "a number above 0".into() });
        }
        if self.windows.contains(&Some(0)) {
            let expected = "at least 1 position".into();
            return Err(ConfigError::Size { what: "sliding window", found: "0".into(), expected });
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(ConfigError::Size {
                what: "norm epsilon",
                found: self.rms_norm_eps.to_string(),
                expected: "a small number".into(),
            });
        }
        Ok(self)
    }
}

/// `factor` times as many positions, as many as can be counted.
fn stretched(positions: usize, factor: f64) -> usize {
    ((positions as f64 * factor) as usize).min(i32::MAX as usize)
}

#[cfg(test)]
mod tests;
