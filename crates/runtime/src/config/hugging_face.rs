//! `config.json` of a Hugging Face folder.

use super::family::{self, Family};
use super::{Architecture, ConfigError, ModelConfig, Rope, RopePairing, RopeScaling, read_json, stretched};
use crate::weights::LoadError;
use serde::{Deserialize, Deserializer};
use std::path::Path;

impl ModelConfig {
    /// Reads `config.json` of a Hugging Face folder.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf), and when the file is missing or is not such a config.
    pub fn from_folder(folder: &Path) -> Result<Self, LoadError> {
        Self::from_json(&folder.join("config.json"))
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder).
    pub fn from_json(path: &Path) -> Result<Self, LoadError> {
        let json: HuggingFaceConfig = read_json(path)?;
        json.into_config().map_err(|error| LoadError::Config { path: path.into(), error })
    }
}

/// What we read of it. What is absent or null is the family's default, as transformers has it.
#[derive(Deserialize)]
struct HuggingFaceConfig {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    /// `null` means as many as there are query heads; missing is the family's.
    #[serde(default, deserialize_with = "present")]
    num_key_value_heads: Option<Option<usize>>,
    /// `null` means that the heads share the hidden size; missing is the family's.
    #[serde(default, deserialize_with = "present")]
    head_dim: Option<Option<usize>>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    /// Present when the safetensors are quantised (AWQ, GPTQ, FP8, ...).
    quantization_config: Option<serde::de::IgnoredAny>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    /// transformers 5 keeps base and scaling together here.
    rope_parameters: Option<RopeParameters>,
    tie_word_embeddings: Option<bool>,
    /// Missing means something else than `null` to Mistral.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    attention_bias: Option<bool>,
}

#[derive(Deserialize)]
struct RopeParameters {
    /// Current name and old name; files for both generations of readers have both.
    rope_type: Option<String>,
    r#type: Option<String>,
    factor: Option<f64>,
    rope_theta: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl RopeParameters {
    fn scaling(&self, context: usize) -> Result<RopeScaling, ConfigError> {
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(ConfigError::Unsupported(format!("RoPE over {part} of a head")));
        }
        if let (Some(new), Some(old)) = (&self.rope_type, &self.r#type)
            && new != old
        {
            return Err(ConfigError::Unsupported(format!("RoPE scaling `{old}` that is also `{new}`")));
        }
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or(match self.factor {
            Some(_) => "linear",
            None => "default",
        });
        let missing = |what: &'static str| ConfigError::Size {
            what,
            found: "missing".into(),
            expected: format!("a number, for RoPE scaling `{kind}`"),
        };
        let factor = self.factor.ok_or_else(|| missing("RoPE scaling factor"));
        let original = self.original_max_position_embeddings;
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: factor? }),
            "dynamic" => Ok(RopeScaling::Dynamic { factor: factor?, original: context }),
            "yarn" => {
                let original = original.unwrap_or(context);
                let factor = factor.unwrap_or(context as f64 / original as f64);
                let own = match (self.mscale.unwrap_or(0.0), self.mscale_all_dim.unwrap_or(0.0)) {
                    (own, all) if own != 0.0 && all != 0.0 => {
                        Rope::yarn_attention_factor(factor, own) / Rope::yarn_attention_factor(factor, all)
                    }
                    _ => Rope::yarn_attention_factor(factor, 1.0),
                };
                Ok(RopeScaling::Yarn {
                    factor,
                    original,
                    attention_factor: self.attention_factor.unwrap_or(own),
                    beta_fast: self.beta_fast.unwrap_or(32.0),
                    beta_slow: self.beta_slow.unwrap_or(1.0),
                    truncate: self.truncate.unwrap_or(true),
                })
            }
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: factor?,
                original: original.ok_or_else(|| missing("original context of the RoPE scaling"))?,
                low_freq_factor: self.low_freq_factor.ok_or_else(|| missing("low_freq_factor"))?,
                high_freq_factor: self.high_freq_factor.ok_or_else(|| missing("high_freq_factor"))?,
            }),
            other => Err(ConfigError::Unsupported(format!("RoPE scaling `{other}`"))),
        }
    }
}

impl HuggingFaceConfig {
    fn into_config(self) -> Result<ModelConfig, ConfigError> {
        let architecture = self.architecture()?;
        let family = Family::of(architecture);
        if let Some(act) = self.hidden_act.as_deref().filter(|act| !["silu", "swish"].contains(act)) {
            return Err(ConfigError::Unsupported(format!("the MLP activation `{act}`")));
        }
        if self.quantization_config.is_some() {
            let what = "a quantised Hugging Face model (take its GGUF files, or the original)";
            return Err(ConfigError::Unsupported(what.into()));
        }
        let num_layers = self.num_hidden_layers.unwrap_or(family.num_layers);
        let windows = self.windows(architecture, num_layers)?;
        let context = self.max_position_embeddings.unwrap_or(family.max_context);
        let both = [&self.rope_parameters, &self.rope_scaling];
        let mut scaling = RopeScaling::None;
        for parameters in both.into_iter().flatten() {
            let found = parameters.scaling(context)?;
            if found != RopeScaling::None {
                scaling = found;
                break;
            }
        }
        let max_context = match scaling {
            RopeScaling::Yarn { factor, original, .. } => context.max(stretched(original, factor)),
            // The file's length is that of the training, as vLLM reads it.
            RopeScaling::Dynamic { factor, .. } | RopeScaling::Linear { factor } => stretched(context, factor.max(1.0)),
            _ => context,
        };
        let heads = self.num_attention_heads.unwrap_or(family.num_q_heads);
        let hidden_size = self.hidden_size.unwrap_or(family.hidden_size);
        let shared = hidden_size.checked_div(heads).unwrap_or(0);
        let num_kv_heads = match self.num_key_value_heads {
            Some(written) => written,
            None => family.num_kv_heads.filter(|default| heads.is_multiple_of(*default)),
        };
        let theta = self.rope_parameters.and_then(|rope| rope.rope_theta).or(self.rope_theta);
        ModelConfig {
            architecture,
            hidden_size,
            intermediate_size: self.intermediate_size.unwrap_or(family.intermediate_size),
            num_layers,
            num_q_heads: heads,
            num_kv_heads: num_kv_heads.unwrap_or(heads),
            head_dim: self.head_dim.unwrap_or(family.head_dim).unwrap_or(shared),
            vocab_size: self.vocab_size.unwrap_or(family.vocab_size),
            max_context,
            rope: Rope { theta: theta.unwrap_or(10_000.0), scaling },
            rope_pairing: RopePairing::Halves,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(family::RMS_NORM_EPS),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: match architecture {
                Architecture::Qwen2 => true,
                Architecture::Llama | Architecture::Qwen3 => self.attention_bias.unwrap_or(false),
                Architecture::Mistral => false,
            },
            qk_norm: architecture == Architecture::Qwen3,
            windows,
        }
        .checked()
    }

    /// By the class that was saved, of the model with its output head or without; else by the type.
    fn architecture(&self) -> Result<Architecture, ConfigError> {
        let unsupported = |name: &str| Err(ConfigError::Architecture(name.into()));
        if let Some(class) = self.architectures.iter().flatten().next() {
            return match class.strip_suffix("ForCausalLM").or(class.strip_suffix("Model")) {
                Some("Llama" | "LLaMA") => Ok(Architecture::Llama),
                Some("Mistral") => Ok(Architecture::Mistral),
                Some("Qwen2") => Ok(Architecture::Qwen2),
                Some("Qwen3") => Ok(Architecture::Qwen3),
                _ => unsupported(class),
            };
        }
        match self.model_type.as_deref() {
            Some("llama") => Ok(Architecture::Llama),
            Some("mistral") => Ok(Architecture::Mistral),
            Some("qwen2") => Ok(Architecture::Qwen2),
            Some("qwen3") => Ok(Architecture::Qwen3),
            other => unsupported(other.unwrap_or("(none named)")),
        }
    }

    fn windows(&self, architecture: Architecture, num_layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
        let layers = num_layers.min(super::MAX_LAYERS);
        let window = match (architecture, self.sliding_window) {
            (Architecture::Llama, _) => None,
            // transformers' default, for which Mistral 7B v0.1's file relies on being there.
            (Architecture::Mistral, window) => window.unwrap_or(Some(4096)),
            (Architecture::Qwen2 | Architecture::Qwen3, window) => {
                window.unwrap_or(Some(4096)).filter(|_| self.use_sliding_window == Some(true))
            }
        };
        if window.is_none() {
            return Ok(vec![None; layers]);
        }
        if let Some(kinds) = &self.layer_types {
            let known = |kind: &String| ["sliding_attention", "full_attention"].contains(&kind.as_str());
            if kinds.len() != num_layers || !kinds.iter().all(known) {
                return Err(ConfigError::Unsupported(format!(
                    "layer_types of {} entries for {} layers, or with other kinds than full and sliding attention",
                    kinds.len(),
                    num_layers
                )));
            }
            return Ok(kinds.iter().map(|kind| window.filter(|_| kind == "sliding_attention")).collect());
        }
        let first = match architecture {
            Architecture::Mistral => 0,
            _ => self.max_window_layers.unwrap_or(28),
        };
        Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect())
    }
}
