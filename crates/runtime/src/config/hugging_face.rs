//! `config.json` of a Hugging Face folder.

use super::experts::ExpertFields;
use super::family::Family;
use super::scales::{Multipliers, attention_scale};
use super::{
    Activation, Architecture, ConfigError, ConfigFileError, ModelConfig, Rope, RopePairing, RopeScaling, Scales,
    stretched,
};
use crate::formats::read_json;
use serde::{Deserialize, Deserializer};
use std::path::Path;

impl ModelConfig {
    /// Reads `config.json` of a Hugging Face folder.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf), and when the file is missing or is not such a config.
    pub fn from_folder(folder: &Path) -> Result<Self, ConfigFileError> {
        Self::from_json(&folder.join("config.json"))
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder).
    pub fn from_json(path: &Path) -> Result<Self, ConfigFileError> {
        let json: HuggingFaceConfig = read_json(path)?;
        json.into_config().map_err(|error| ConfigFileError::Config { path: path.into(), error })
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
    /// What Gemma calls the same.
    hidden_activation: Option<String>,
    /// Present when the safetensors are quantised (AWQ, GPTQ, FP8, ...).
    quantization_config: Option<serde::de::IgnoredAny>,
    rope_theta: Option<f64>,
    /// Base of Gemma's layers with a window.
    rope_local_base_freq: Option<f64>,
    /// Share of each head that rotates.
    partial_rotary_factor: Option<f64>,
    /// Context of the training, of Phi-3.
    original_max_position_embeddings: Option<usize>,
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
    /// Every so many layers one has no window.
    sliding_window_pattern: Option<usize>,
    use_bidirectional_attention: Option<bool>,
    /// 1 for each layer with RoPE, 0 for each without.
    no_rope_layers: Option<Vec<u8>>,
    /// Every so many layers one has no RoPE.
    no_rope_layer_interval: Option<usize>,
    attention_bias: Option<bool>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f32>,
    embedding_multiplier: Option<f64>,
    residual_multiplier: Option<f64>,
    attention_multiplier: Option<f64>,
    logits_scaling: Option<f64>,
    #[serde(flatten)]
    experts: ExpertFields,
}

#[derive(Default, Deserialize)]
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
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
    /// Of layers without a window, where they differ from those with one.
    full_attention: Option<Box<RopeParameters>>,
    sliding_attention: Option<Box<RopeParameters>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl RopeParameters {
    /// `trained` is the context of the training where the config says it elsewhere.
    fn scaling(&self, context: usize, trained: Option<usize>) -> Result<RopeScaling, ConfigError> {
        if let (Some(new), Some(old)) = (&self.rope_type, &self.r#type)
            && new != old
        {
            return Err(ConfigError::Unsupported(format!("RoPE scaling `{old}` that is also `{new}`")));
        }
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or(match self.factor {
            Some(_) => "linear",
            None => "default",
        });
        // Names of the first files of Phi-3.
        let kind = if kind == "su" || (kind == "yarn" && self.short_factor.is_some()) { "longrope" } else { kind };
        let missing = |what: &'static str| ConfigError::Size {
            what,
            found: "missing".into(),
            expected: format!("a number, for RoPE scaling `{kind}`"),
        };
        let factor = self.factor.ok_or_else(|| missing("RoPE scaling factor"));
        let original = trained.or(self.original_max_position_embeddings);
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
            "longrope" => {
                let original = original.unwrap_or(context);
                let factor = self.factor.unwrap_or(context as f64 / original as f64);
                Ok(RopeScaling::LongRope {
                    original,
                    short: self.short_factor.clone().ok_or_else(|| missing("short_factor"))?,
                    long: self.long_factor.clone().ok_or_else(|| missing("long_factor"))?,
                    attention_factor: match self.attention_factor {
                        Some(own) => own,
                        None => Rope::long_attention_factor(factor, original),
                    },
                })
            }
            other => Err(ConfigError::Unsupported(format!("RoPE scaling `{other}`"))),
        }
    }
}

impl HuggingFaceConfig {
    fn into_config(self) -> Result<ModelConfig, ConfigError> {
        let architecture = self.architecture()?;
        let family = Family::of(architecture);
        let activation = self.activation(architecture, &family)?;
        self.refuse_variants()?;
        if self.quantization_config.is_some() {
            let what = "a quantised Hugging Face model (take its GGUF files, or the original)";
            return Err(ConfigError::Unsupported(what.into()));
        }
        let num_layers = self.num_hidden_layers.unwrap_or(family.num_layers);
        let windows = self.windows(architecture, num_layers)?;
        let context = self.max_position_embeddings.unwrap_or(family.max_context);
        let global = self.global_rope(architecture, context, &family)?;
        let max_context = match global.scaling {
            RopeScaling::Yarn { factor, original, .. } => context.max(stretched(original, factor)),
            // The file's length is that of the training, as vLLM reads it; Gemma's is the stretched one.
            RopeScaling::Dynamic { factor, .. } | RopeScaling::Linear { factor }
                if architecture != Architecture::Gemma3 =>
            {
                stretched(context, factor.max(1.0))
            }
            _ => context,
        };
        let (ropes, layer_ropes) = self.ropes(architecture, global, context, &windows)?;
        let heads = self.num_attention_heads.unwrap_or(family.num_q_heads);
        let hidden_size = self.hidden_size.unwrap_or(family.hidden_size);
        let shared = hidden_size.checked_div(heads).unwrap_or(0);
        let num_kv_heads = match self.num_key_value_heads {
            Some(written) => written,
            None => family.num_kv_heads.filter(|default| heads.is_multiple_of(*default)),
        };
        let head_dim = self.head_dim.unwrap_or(family.head_dim).unwrap_or(shared);
        let eps = self.rms_norm_eps.unwrap_or(family.rms_norm_eps);
        let intermediate_size = self.intermediate_size.unwrap_or(family.intermediate_size);
        let (scales, rms_norm_eps) = self.scales(architecture, hidden_size, head_dim, eps);
        ModelConfig {
            architecture,
            hidden_size,
            intermediate_size,
            experts: self.experts.experts(architecture, intermediate_size, num_layers.min(super::MAX_LAYERS))?,
            num_layers,
            num_q_heads: heads,
            num_kv_heads: num_kv_heads.unwrap_or(heads),
            head_dim,
            vocab_size: self.vocab_size.unwrap_or(family.vocab_size),
            max_context,
            ropes,
            layer_ropes,
            rotary_dim: self.rotary_dim(architecture, head_dim)?,
            rope_pairing: RopePairing::Halves,
            rms_norm_eps,
            // Gemma's files say how far weights are from 1.
            norm_offset: if architecture == Architecture::Gemma3 { 1.0 } else { 0.0 },
            output_norms: architecture == Architecture::Gemma3,
            activation,
            scales,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(family.tie_word_embeddings),
            qkv_bias: match architecture {
                Architecture::Qwen2 => true,
                Architecture::Mistral | Architecture::Phi3 | Architecture::Mixtral => false,
                _ => self.attention_bias.unwrap_or(false),
            },
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe | Architecture::Gemma3),
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
                Some("Gemma3" | "Gemma3Text") => Ok(Architecture::Gemma3),
                Some("Phi3") => Ok(Architecture::Phi3),
                Some("SmolLM3") => Ok(Architecture::SmolLm3),
                Some("Granite") => Ok(Architecture::Granite),
                Some("Qwen3Moe") => Ok(Architecture::Qwen3Moe),
                Some("Mixtral") => Ok(Architecture::Mixtral),
                _ if class == "Gemma3ForConditionalGeneration" => Err(ConfigError::Unsupported(
                    "Gemma 3 with its part for images (take its GGUF file, which has the text model alone)".into(),
                )),
                _ => unsupported(class),
            };
        }
        match self.model_type.as_deref() {
            Some("llama") => Ok(Architecture::Llama),
            Some("mistral") => Ok(Architecture::Mistral),
            Some("qwen2") => Ok(Architecture::Qwen2),
            Some("qwen3") => Ok(Architecture::Qwen3),
            Some("gemma3_text") => Ok(Architecture::Gemma3),
            Some("phi3") => Ok(Architecture::Phi3),
            Some("smollm3") => Ok(Architecture::SmolLm3),
            Some("granite") => Ok(Architecture::Granite),
            Some("qwen3_moe") => Ok(Architecture::Qwen3Moe),
            Some("mixtral") => Ok(Architecture::Mixtral),
            other => unsupported(other.unwrap_or("(none named)")),
        }
    }

    fn windows(&self, architecture: Architecture, num_layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
        let layers = num_layers.min(super::MAX_LAYERS);
        let window = match (architecture, self.sliding_window) {
            (Architecture::Llama | Architecture::Granite, _) => None,
            (Architecture::Phi3 | Architecture::Mixtral, window) => window.flatten(),
            (Architecture::SmolLm3, window) => window.flatten().filter(|_| self.use_sliding_window == Some(true)),
            (Architecture::Gemma3, window) => window.unwrap_or(Some(4096)),
            // transformers' default, for which Mistral 7B v0.1's file relies on being there.
            (Architecture::Mistral, window) => window.unwrap_or(Some(4096)),
            (Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Qwen3Moe, window) => {
                window.unwrap_or(Some(4096)).filter(|_| self.use_sliding_window == Some(true))
            }
        };
        if window.is_none() {
            return Ok(vec![None; layers]);
        }
        // Where Qwen3-MoE has a window, it is every layer's, whatever else its files say.
        if let Some(kinds) = self.layer_types.as_ref().filter(|_| architecture != Architecture::Qwen3Moe) {
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
        let has_rope = self.has_rope(layers)?;
        let pattern = self.sliding_window_pattern.unwrap_or(6).max(1);
        let first = self.max_window_layers.unwrap_or(28);
        let has_window = |layer: usize| match architecture {
            Architecture::Qwen2 | Architecture::Qwen3 => layer >= first,
            Architecture::Gemma3 => !(layer + 1).is_multiple_of(pattern),
            Architecture::SmolLm3 => !has_rope[layer],
            _ => true,
        };
        Ok((0..layers).map(|layer| window.filter(|_| has_window(layer))).collect())
    }

    fn activation(&self, architecture: Architecture, family: &Family) -> Result<Activation, ConfigError> {
        let name = match architecture {
            Architecture::Gemma3 => &self.hidden_activation,
            _ => &self.hidden_act,
        };
        match name.as_deref() {
            None => Ok(family.activation),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => Err(ConfigError::Unsupported(format!("the MLP activation `{other}`"))),
        }
    }

    /// Refuses what would change the answers and the decoder does not have.
    fn refuse_variants(&self) -> Result<(), ConfigError> {
        if self.use_bidirectional_attention == Some(true) {
            return Err(ConfigError::Unsupported("attention that is not causal".into()));
        }
        if let Some(cap) = self.attn_logit_softcapping {
            return Err(ConfigError::Unsupported(format!("attention scores capped at {cap}")));
        }
        Ok(())
    }

    /// What says how layers without a window rotate: new files first, then old ones.
    fn rope_parameters(&self) -> impl Iterator<Item = &RopeParameters> {
        let both = [&self.rope_parameters, &self.rope_scaling];
        both.into_iter().flatten().map(|rope| rope.full_attention.as_deref().unwrap_or(rope))
    }

    /// RoPE of layers without a window, and of all where they do not differ.
    fn global_rope(&self, architecture: Architecture, context: usize, family: &Family) -> Result<Rope, ConfigError> {
        let trained = match architecture {
            Architecture::Phi3 => Some(self.original_max_position_embeddings.unwrap_or(4096)),
            _ => self.original_max_position_embeddings,
        };
        let mut scaling = RopeScaling::None;
        for parameters in self.rope_parameters() {
            scaling = parameters.scaling(context, trained)?;
            if scaling != RopeScaling::None {
                break;
            }
        }
        let theta = self.rope_parameters().find_map(|rope| rope.rope_theta).or(self.rope_theta);
        Ok(Rope { theta: theta.unwrap_or(family.theta), scaling })
    }

    /// All ways to rotate, and which each layer has.
    fn ropes(
        &self,
        architecture: Architecture,
        global: Rope,
        context: usize,
        windows: &[Option<usize>],
    ) -> Result<(Vec<Rope>, Vec<usize>), ConfigError> {
        match architecture {
            Architecture::Gemma3 => {
                let own = self.rope_parameters.as_ref().and_then(|rope| rope.sliding_attention.as_deref());
                let scaling = own.map_or(Ok(RopeScaling::None), |own| own.scaling(context, None))?;
                let theta = own.and_then(|own| own.rope_theta).or(self.rope_local_base_freq).unwrap_or(10_000.0);
                let of_layer = windows.iter().map(|window| usize::from(window.is_some())).collect();
                Ok((vec![global, Rope { theta, scaling }], of_layer))
            }
            Architecture::SmolLm3 => {
                let still = Rope { theta: global.theta, scaling: RopeScaling::Still };
                let has_rope = self.has_rope(windows.len())?;
                Ok((vec![global, still], has_rope.into_iter().map(|has| usize::from(!has)).collect()))
            }
            _ => Ok((vec![global], vec![0; windows.len()])),
        }
    }

    /// Whether each layer of a model has RoPE, of which some layers may have none.
    fn has_rope(&self, layers: usize) -> Result<Vec<bool>, ConfigError> {
        let every = self.no_rope_layer_interval.unwrap_or(4);
        match &self.no_rope_layers {
            Some(marks) if marks.len() < layers => Err(ConfigError::Size {
                what: "number of no_rope_layers",
                found: marks.len().to_string(),
                expected: format!("one for each of the {layers} layers"),
            }),
            Some(marks) => Ok(marks[..layers].iter().map(|mark| *mark != 0).collect()),
            None => Ok((0..layers).map(|layer| every == 0 || !(layer + 1).is_multiple_of(every)).collect()),
        }
    }

    fn rotary_dim(&self, architecture: Architecture, head_dim: usize) -> Result<usize, ConfigError> {
        let own = self.rope_parameters().find_map(|rope| rope.partial_rotary_factor);
        match own.or(self.partial_rotary_factor).filter(|part| *part != 1.0) {
            None => Ok(head_dim),
            Some(part) if architecture == Architecture::Phi3 => Ok((head_dim as f64 * part) as usize),
            Some(part) => Err(ConfigError::Unsupported(format!("RoPE over {part} of a head"))),
        }
    }

    /// Constant factors, and the epsilon of norms with them.
    fn scales(&self, architecture: Architecture, hidden_size: usize, head_dim: usize, eps: f32) -> (Scales, f32) {
        match architecture {
            Architecture::Gemma3 => {
                let scales = Scales {
                    embedding: (hidden_size as f32).sqrt(),
                    attention: attention_scale(self.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5), head_dim),
                    logits: 1.0,
                    logit_cap: self.final_logit_softcapping,
                };
                (scales, eps)
            }
            Architecture::Granite => Multipliers {
                embedding: self.embedding_multiplier.unwrap_or(1.0),
                residual: self.residual_multiplier.unwrap_or(1.0),
                attention: self.attention_multiplier.unwrap_or(1.0),
                logits: self.logits_scaling.unwrap_or(1.0),
            }
            .folded(head_dim, eps),
            _ => (Scales::default(), eps),
        }
    }
}
