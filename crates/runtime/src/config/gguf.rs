//! The metadata of a GGUF file.

use super::scales::{Multipliers, attention_scale};
use super::{
    Activation, Architecture, ConfigError, Experts, ModelConfig, Rope, RopePairing, RopeScaling, Scales, stretched,
};
use crate::formats::Encoding;
use crate::formats::gguf::Gguf;

/// What RoPE frequencies are divided by, where they are.
const DIVISORS: &str = "rope_freqs.weight";
/// The same for prompts within the context of the training, and for longer ones.
const SHORT_DIVISORS: &str = "rope_factors_short.weight";
const LONG_DIVISORS: &str = "rope_factors_long.weight";
/// Tensors of GGUF files that the config has taken in.
pub(crate) const ROPE_TABLES: [&str; 3] = [DIVISORS, SHORT_DIVISORS, LONG_DIVISORS];

/// Every so many layers of SmolLM3 one has no RoPE; its files do not say so.
const NO_ROPE_EVERY: usize = 4;
/// Every so many layers of Gemma 3 one has no window; likewise.
const NO_WINDOW_EVERY: usize = 6;
/// RoPE base of the layers of Gemma 3 that have a window; likewise.
const LOCAL_THETA: f64 = 10_000.0;

impl ModelConfig {
    /// Reads the metadata of a GGUF file; `bytes_of` has the bytes of its tensors that belong to it: `rope_freqs.weight`,
    /// `rope_factors_short.weight` and `rope_factors_long.weight`, where there are such.
    ///
    /// # Errors
    /// When it is not a decoder this engine can run, or sizes cannot be.
    pub fn from_gguf(gguf: &Gguf, bytes_of: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Self, ConfigError> {
        let name = gguf.text("general.architecture")?;
        let architecture = match name {
            // The files of Mixtral say `llama`, too.
            "llama" if gguf.optional_size("llama.expert_count")?.is_some_and(|count| count > 0) => {
                Architecture::Mixtral
            }
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "qwen3" => Architecture::Qwen3,
            "gemma3" => Architecture::Gemma3,
            "phi3" => Architecture::Phi3,
            "smollm3" => Architecture::SmolLm3,
            "granite" => Architecture::Granite,
            "qwen3moe" => Architecture::Qwen3Moe,
            other => return Err(ConfigError::Architecture(other.into())),
        };
        let key = |suffix: &str| format!("{name}.{suffix}");
        refuse(gguf, name)?;
        let num_layers = gguf.size(&key("block_count"))?;
        let num_q_heads = gguf.size(&key("attention.head_count"))?;
        let hidden_size = gguf.size(&key("embedding_length"))?;
        let head_dim = match gguf.optional_size(&key("attention.key_length"))? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(num_q_heads).unwrap_or(0),
        };
        let rotary_dim = gguf.optional_size(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if rotary_dim != head_dim && architecture != Architecture::Phi3 {
            return Err(ConfigError::Unsupported(format!("RoPE over {rotary_dim} of {head_dim} elements")));
        }
        let layers = num_layers.min(super::MAX_LAYERS);
        let intermediate_size = gguf.size(&key("feed_forward_length"))?;
        let windows = windows(gguf, architecture, layers, &key("attention.sliding_window"))?;
        let context = gguf.size(&key("context_length"))?;
        let scaling = scaling(gguf, bytes_of, name, context)?;
        let max_context = match scaling {
            RopeScaling::Yarn { factor, original, .. } => context.max(stretched(original, factor)),
            _ => context,
        };
        let embedding = gguf.tensor("token_embd.weight").map_or(0, |place| place.rows);
        let theta = optional_float(gguf, &key("rope.freq_base"))?.unwrap_or(10_000.0);
        let global = Rope { theta, scaling };
        let (ropes, layer_ropes) = match architecture {
            Architecture::Gemma3 => {
                let theta = optional_float(gguf, &key("rope.freq_base_swa"))?.unwrap_or(LOCAL_THETA);
                let of_layer = windows.iter().map(|window| usize::from(window.is_some())).collect();
                (vec![global, Rope { theta, scaling: RopeScaling::None }], of_layer)
            }
            Architecture::SmolLm3 => {
                let still = Rope { theta, scaling: RopeScaling::Still };
                let of_layer = (1..=layers).map(|nth| usize::from(nth.is_multiple_of(NO_ROPE_EVERY))).collect();
                (vec![global, still], of_layer)
            }
            _ => (vec![global], vec![0; layers]),
        };
        let eps = gguf.float(&key("attention.layer_norm_rms_epsilon"))? as f32;
        let (scales, rms_norm_eps) = scales(gguf, architecture, hidden_size, num_q_heads, head_dim, num_layers, eps)?;
        let is_gemma = architecture == Architecture::Gemma3;
        Self {
            architecture,
            hidden_size,
            intermediate_size,
            experts: Experts::from_gguf(gguf, name, architecture, intermediate_size, layers)?,
            num_layers,
            num_q_heads,
            num_kv_heads: gguf.optional_size(&key("attention.head_count_kv"))?.unwrap_or(num_q_heads),
            head_dim,
            vocab_size: embedding,
            max_context,
            ropes,
            layer_ropes,
            rotary_dim,
            rope_pairing: match architecture {
                Architecture::Llama
                | Architecture::Mistral
                | Architecture::Mixtral
                | Architecture::SmolLm3
                | Architecture::Granite => RopePairing::Adjacent,
                Architecture::Qwen2
                | Architecture::Qwen3
                | Architecture::Qwen3Moe
                | Architecture::Gemma3
                | Architecture::Phi3 => RopePairing::Halves,
            },
            rms_norm_eps,
            norm_offset: 0.0,
            output_norms: is_gemma,
            activation: if is_gemma { Activation::GeluTanh } else { Activation::Silu },
            scales,
            tie_word_embeddings: gguf.tensor("output.weight").is_none(),
            qkv_bias: architecture == Architecture::Qwen2 || gguf.tensors().any(|(name, _)| is_qkv_bias(name)),
            qk_norm: is_gemma || matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
            windows,
        }
        .checked()
    }
}

fn optional_float(gguf: &Gguf, key: &str) -> Result<Option<f64>, ConfigError> {
    Ok(gguf.get(key).map(|_| gguf.float(key)).transpose()?)
}

/// Windows of the layers, by the number that stands under `key`.
fn windows(
    gguf: &Gguf,
    architecture: Architecture,
    layers: usize,
    key: &str,
) -> Result<Vec<Option<usize>>, ConfigError> {
    let window = gguf.optional_size(key)?.filter(|window| *window > 0);
    let pattern = format!("{key}_pattern");
    if gguf.get(&pattern).is_some()
        && (architecture != Architecture::Gemma3 || gguf.size(&pattern) != Ok(NO_WINDOW_EVERY))
    {
        return Err(ConfigError::Unsupported(format!("sliding windows by `{pattern}`")));
    }
    match architecture {
        // Files of Mistral models say `llama`; where they have a window, it is every layer's.
        Architecture::Llama | Architecture::Mixtral | Architecture::Phi3 => Ok(vec![window; layers]),
        Architecture::Gemma3 => {
            Ok((1..=layers).map(|nth| window.filter(|_| !nth.is_multiple_of(NO_WINDOW_EVERY))).collect())
        }
        _ if window.is_some() => {
            Err(ConfigError::Unsupported("sliding-window attention in some layers of a GGUF model".into()))
        }
        _ => Ok(vec![None; layers]),
    }
}

/// Constant factors, and the epsilon of norms with them.
fn scales(
    gguf: &Gguf,
    architecture: Architecture,
    hidden_size: usize,
    num_q_heads: usize,
    head_dim: usize,
    num_layers: usize,
    eps: f32,
) -> Result<(Scales, f32), ConfigError> {
    match architecture {
        Architecture::Gemma3 => {
            // The largest one, of 62 layers, is the only one whose scores are not scaled by the head size; files do not say so.
            let scaled_by = if num_layers == 62 { hidden_size.checked_div(num_q_heads).unwrap_or(0) } else { head_dim };
            let scales = Scales {
                embedding: (hidden_size as f32).sqrt(),
                attention: attention_scale((scaled_by as f64).powf(-0.5), head_dim),
                logits: 1.0,
                logit_cap: optional_float(gguf, "gemma3.final_logit_softcapping")?
                    .filter(|cap| *cap != 0.0)
                    .map(|cap| cap as f32),
            };
            if optional_float(gguf, "gemma3.attn_logit_softcapping")?.is_some_and(|cap| cap != 0.0) {
                return Err(ConfigError::Unsupported("attention scores that are capped".into()));
            }
            Ok((scales, eps))
        }
        Architecture::Granite => {
            // Readers take a factor of 0 as none.
            let factor = |name: &str| -> Result<Option<f64>, ConfigError> {
                Ok(optional_float(gguf, &format!("granite.{name}"))?.filter(|factor| *factor != 0.0))
            };
            let multipliers = Multipliers {
                embedding: factor("embedding_scale")?.unwrap_or(1.0),
                residual: factor("residual_scale")?.unwrap_or(1.0),
                attention: factor("attention.scale")?.unwrap_or((head_dim as f64).powf(-0.5)),
                logits: factor("logit_scale")?.unwrap_or(1.0),
            };
            Ok(multipliers.folded(head_dim, eps))
        }
        _ => Ok((Scales::default(), eps)),
    }
}

/// Whether a tensor is a bias of Q, K or V, which files of every family may have.
fn is_qkv_bias(name: &str) -> bool {
    ["attn_q.bias", "attn_k.bias", "attn_v.bias"].into_iter().any(|bias| name.ends_with(bias))
}

/// Refuses the features that change the answers and that the decoder does not have.
fn refuse(gguf: &Gguf, architecture: &str) -> Result<(), ConfigError> {
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let unsupported = |what: String| Err(ConfigError::Unsupported(what));
    if gguf.optional_bool(&key("attention.causal"))? == Some(false) {
        return unsupported("attention that is not causal".into());
    }
    Ok(())
}

/// A list of f32 that belongs to the metadata.
fn table(gguf: &Gguf, bytes_of: &dyn Fn(&str) -> Option<Vec<u8>>, name: &str) -> Result<Option<Vec<f32>>, ConfigError> {
    let Some((place, bytes)) = gguf.tensor(name).zip(bytes_of(name)) else { return Ok(None) };
    if place.rows != 1 || place.encoding != Encoding::F32 {
        return Err(ConfigError::Unsupported(format!("a `{name}` that is not a list of f32")));
    }
    let mut values = vec![0.0; place.cols];
    place.encoding.decode(&bytes, &mut values);
    Ok(Some(values))
}

fn scaling(
    gguf: &Gguf,
    bytes_of: &dyn Fn(&str) -> Option<Vec<u8>>,
    architecture: &str,
    context: usize,
) -> Result<RopeScaling, ConfigError> {
    let key = |suffix: &str| format!("{architecture}.rope.{suffix}");
    let table = |name| table(gguf, bytes_of, name);
    if let Some(divisors) = table(DIVISORS)? {
        return Ok(RopeScaling::Divisors(divisors));
    }
    if let (Some(short), Some(long)) = (table(SHORT_DIVISORS)?, table(LONG_DIVISORS)?) {
        return Ok(RopeScaling::LongRope {
            original: gguf.optional_size(&key("scaling.original_context_length"))?.unwrap_or(context),
            short,
            long,
            attention_factor: optional_float(gguf, &key("scaling.attn_factor"))?.unwrap_or(1.0),
        });
    }
    let optional = |name: &str| optional_float(gguf, &key(name));
    let factor = match optional("scaling.factor")? {
        Some(factor) => Some(factor),
        None => optional("scale_linear")?,
    };
    // A factor scales even where no type is named: readers take the type to be linear then.
    let kind = match gguf.get(&key("scaling.type")) {
        Some(_) => gguf.text(&key("scaling.type"))?,
        None if factor.is_some() => "linear",
        None => "none",
    };
    let known = [
        "type",
        "factor",
        "original_context_length",
        "attn_factor",
        "yarn_attn_factor",
        "yarn_beta_fast",
        "yarn_beta_slow",
        "yarn_ext_factor",
        "finetuned",
    ];
    // How much of YaRN's ramp is applied: all of it, or another method.
    if let Some(share) = optional("scaling.yarn_ext_factor")?.filter(|share| kind == "yarn" && *share != 1.0) {
        return Err(ConfigError::Unsupported(format!(
            "RoPE scaling (`{}` of {share})",
            key("scaling.yarn_ext_factor")
        )));
    }
    let prefix = key("scaling.");
    let unknown = gguf.keys().filter_map(|key| key.strip_prefix(&prefix)).find(|name| !known.contains(name));
    match (kind, unknown) {
        ("none", _) => Ok(RopeScaling::None),
        (_, Some(name)) => Err(ConfigError::Unsupported(format!("RoPE scaling (`{prefix}{name}`)"))),
        ("linear", _) => Ok(match factor.unwrap_or(1.0) {
            1.0 | 0.0 => RopeScaling::None,
            factor => RopeScaling::Linear { factor },
        }),
        ("yarn", _) => {
            let factor = factor.unwrap_or(1.0);
            Ok(RopeScaling::Yarn {
                factor,
                original: gguf.optional_size(&key("scaling.original_context_length"))?.unwrap_or(context),
                attention_factor: match optional("scaling.yarn_attn_factor")? {
                    Some(own) => own,
                    None => optional("scaling.attn_factor")?.unwrap_or(1.0),
                } * Rope::yarn_attention_factor(factor, 1.0),
                beta_fast: optional("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: optional("scaling.yarn_beta_slow")?.unwrap_or(1.0),
                truncate: true,
            })
        }
        (other, _) => Err(ConfigError::Unsupported(format!("RoPE scaling `{other}`"))),
    }
}
