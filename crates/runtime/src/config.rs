//! What a decoder looks like, whichever file format said so.

use crate::weights::LoadError;
use crate::weights::gguf::{Gguf, GgufError, Value};
use serde::Deserialize;
use std::path::Path;

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

/// Why a model cannot be run by this engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Another model family.
    #[error(
        "architecture `{0}` is not supported: this version runs llama (Llama 2/3, SmolLM2, TinyLlama) and qwen2 (Qwen2, Qwen2.5)"
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
    /// GGUF metadata that does not hold.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// Far above any model that exists, far below where products of sizes overflow.
const MAX_SIZE: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;

impl ModelConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// When it is not a Llama or Qwen2 decoder this engine can run, or sizes cannot be.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ConfigError> {
        let name = gguf.text("general.architecture")?;
        let architecture = match name {
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            other => return Err(ConfigError::Architecture(other.into())),
        };
        let key = |suffix: &str| format!("{name}.{suffix}");
        refuse_in_gguf(gguf, name)?;
        let num_q_heads = gguf.size(&key("attention.head_count"))?;
        let hidden_size = gguf.size(&key("embedding_length"))?;
        let head_dim = match gguf.optional_size(&key("attention.key_length"))? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(num_q_heads).unwrap_or(0),
        };
        if let Some(rotated) = gguf.optional_size(&key("rope.dimension_count"))?.filter(|n| *n != head_dim) {
            return Err(ConfigError::Unsupported(format!("RoPE over {rotated} of {head_dim} elements")));
        }
        let embedding = gguf.tensor("token_embd.weight").map_or(0, |place| place.rows);
        Self {
            architecture,
            hidden_size,
            intermediate_size: gguf.size(&key("feed_forward_length"))?,
            num_layers: gguf.size(&key("block_count"))?,
            num_q_heads,
            num_kv_heads: gguf.optional_size(&key("attention.head_count_kv"))?.unwrap_or(num_q_heads),
            head_dim,
            vocab_size: embedding,
            max_context: gguf.size(&key("context_length"))?,
            rope_theta: match gguf.get(&key("rope.freq_base")) {
                Some(_) => gguf.float(&key("rope.freq_base"))?,
                None => 10_000.0,
            },
            rope_pairing: match architecture {
                Architecture::Llama => RopePairing::Adjacent,
                Architecture::Qwen2 => RopePairing::Halves,
            },
            rms_norm_eps: gguf.float(&key("attention.layer_norm_rms_epsilon"))? as f32,
            tie_word_embeddings: gguf.tensor("output.weight").is_none(),
            qkv_bias: architecture == Architecture::Qwen2,
        }
        .checked()
    }

    /// Reads `config.json` of a Hugging Face folder.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf), and when the file is missing or is not such a config.
    pub fn from_folder(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let json: HuggingFaceConfig = read_json(&path)?;
        json.into_config().map_err(|error| LoadError::Config { path, error })
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
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(ConfigError::Size {
                what: "RoPE base",
                found: self.rope_theta.to_string(),
                expected: "a number above 0".into(),
            });
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

/// Refuses the features of a GGUF file that change the answers and that the decoder does not have.
fn refuse_in_gguf(gguf: &Gguf, architecture: &str) -> Result<(), ConfigError> {
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let unsupported = |what: String| Err(ConfigError::Unsupported(what));
    if let Some(experts) = gguf.optional_size(&key("expert_count"))?.filter(|n| *n > 0) {
        return unsupported(format!("a mixture of {experts} experts"));
    }
    if let Some(files) = gguf.optional_size("split.count")?.filter(|n| *n > 1) {
        return unsupported(format!(
            "a GGUF model split over {files} files (join them with `llama-gguf-split --merge`)"
        ));
    }
    if gguf.optional_bool(&key("attention.causal"))? == Some(false) {
        return unsupported("attention that is not causal".into());
    }
    // A factor scales even where no type is named: readers take the type to be linear then.
    let named_none = gguf.get(&key("rope.scaling.type")) == Some(&Value::String("none".into()));
    let scaling = gguf.keys().find(|k| k.strip_prefix(architecture).is_some_and(|k| k.starts_with(".rope.scaling.")));
    if let Some(found) = scaling.filter(|_| !named_none) {
        return unsupported(format!("RoPE scaling (`{found}`)"));
    }
    let linear = key("rope.scale_linear");
    if gguf.get(&linear).is_some() && gguf.float(&linear)? != 1.0 {
        return unsupported(format!("RoPE scaling (`{linear}`)"));
    }
    if gguf.tensor("rope_freqs.weight").is_some() {
        return unsupported("RoPE scaling (tensor `rope_freqs.weight`)".into());
    }
    Ok(())
}

/// What we read of a Hugging Face `config.json`.
#[derive(Deserialize)]
struct HuggingFaceConfig {
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    hidden_act: Option<String>,
    /// Present when the safetensors are quantised (AWQ, GPTQ, FP8, ...).
    quantization_config: Option<serde::de::IgnoredAny>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    /// transformers 5 keeps base and scaling together here.
    rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

#[derive(Deserialize)]
struct RopeParameters {
    /// Current name and old name; files for both generations of readers have both.
    rope_type: Option<String>,
    r#type: Option<String>,
    factor: Option<f64>,
    rope_theta: Option<f64>,
}

impl RopeParameters {
    /// What it scales by, if by anything.
    fn scaling(&self) -> Option<String> {
        let mut kinds = self.rope_type.iter().chain(&self.r#type);
        let factor = self.factor.filter(|factor| *factor != 1.0).map(|factor| format!("by {factor}"));
        kinds.find(|kind| *kind != "default").map(|kind| format!("`{kind}`")).or(factor)
    }
}

impl HuggingFaceConfig {
    fn into_config(self) -> Result<ModelConfig, ConfigError> {
        let architecture = match self.architectures.first().map(String::as_str) {
            Some("LlamaForCausalLM") => Architecture::Llama,
            Some("Qwen2ForCausalLM") => Architecture::Qwen2,
            other => return Err(ConfigError::Architecture(other.unwrap_or("(none named)").into())),
        };
        for rope in [&self.rope_scaling, &self.rope_parameters].into_iter().flatten() {
            if let Some(scaling) = rope.scaling() {
                return Err(ConfigError::Unsupported(format!("RoPE scaling {scaling}")));
            }
        }
        if let Some(act) = self.hidden_act.as_deref().filter(|act| !["silu", "swish"].contains(act)) {
            return Err(ConfigError::Unsupported(format!("the MLP activation `{act}`")));
        }
        let llama = architecture == Architecture::Llama;
        for (set, what) in [
            (self.use_sliding_window, "sliding-window attention"),
            (self.attention_bias && llama, "attention bias in a Llama model"),
            (self.mlp_bias, "MLP bias"),
            (
                self.quantization_config.is_some(),
                "a quantised Hugging Face model (take its GGUF files, or the original)",
            ),
        ] {
            if set {
                return Err(ConfigError::Unsupported(what.into()));
            }
        }
        let heads = self.num_attention_heads;
        let rope_theta = self.rope_parameters.and_then(|rope| rope.rope_theta).or(self.rope_theta);
        ModelConfig {
            architecture,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_hidden_layers,
            num_q_heads: heads,
            num_kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: self.head_dim.unwrap_or(self.hidden_size.checked_div(heads).unwrap_or(0)),
            vocab_size: self.vocab_size,
            max_context: self.max_position_embeddings,
            rope_theta: rope_theta.unwrap_or(10_000.0),
            rope_pairing: RopePairing::Halves,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            qkv_bias: architecture == Architecture::Qwen2,
        }
        .checked()
    }
}

/// Reads a JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let text = std::fs::read(path).map_err(|error| LoadError::Read { path: path.into(), error })?;
    serde_json::from_slice(&text).map_err(|error| LoadError::Json { path: path.into(), message: error.to_string() })
}
