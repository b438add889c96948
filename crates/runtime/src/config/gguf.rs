//! The metadata of a GGUF file.

use super::{Architecture, ConfigError, ModelConfig, Rope, RopePairing, RopeScaling, stretched};
use crate::weights::Encoding;
use crate::weights::gguf::Gguf;

impl ModelConfig {
    /// Reads the metadata of a GGUF file; `divisors` are the bytes of its `rope_freqs.weight`, where it has one.
    ///
    /// # Errors
    /// When it is not a decoder this engine can run, or sizes cannot be.
    pub fn from_gguf(gguf: &Gguf, divisors: Option<&[u8]>) -> Result<Self, ConfigError> {
        // Before all else: only the first file of a split model says what the model is.
        refuse_split(gguf)?;
        let name = gguf.text("general.architecture")?;
        let architecture = match name {
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "qwen3" => Architecture::Qwen3,
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
        if let Some(rotated) = gguf.optional_size(&key("rope.dimension_count"))?.filter(|n| *n != head_dim) {
            return Err(ConfigError::Unsupported(format!("RoPE over {rotated} of {head_dim} elements")));
        }
        // Files of Mistral models say `llama`; where they have a window, it is every layer's.
        let window = gguf.optional_size(&key("attention.sliding_window"))?.filter(|window| *window > 0);
        if window.is_some() && architecture != Architecture::Llama {
            return Err(ConfigError::Unsupported("sliding-window attention in some layers of a GGUF model".into()));
        }
        let context = gguf.size(&key("context_length"))?;
        let scaling = scaling(gguf, divisors, name, context)?;
        let max_context = match scaling {
            RopeScaling::Yarn { factor, original, .. } => context.max(stretched(original, factor)),
            _ => context,
        };
        let embedding = gguf.tensor("token_embd.weight").map_or(0, |place| place.rows);
        Self {
            architecture,
            hidden_size,
            intermediate_size: gguf.size(&key("feed_forward_length"))?,
            num_layers,
            num_q_heads,
            num_kv_heads: gguf.optional_size(&key("attention.head_count_kv"))?.unwrap_or(num_q_heads),
            head_dim,
            vocab_size: embedding,
            max_context,
            rope: Rope {
                theta: match gguf.get(&key("rope.freq_base")) {
                    Some(_) => gguf.float(&key("rope.freq_base"))?,
                    None => 10_000.0,
                },
                scaling,
            },
            rope_pairing: match architecture {
                Architecture::Llama | Architecture::Mistral => RopePairing::Adjacent,
                Architecture::Qwen2 | Architecture::Qwen3 => RopePairing::Halves,
            },
            rms_norm_eps: gguf.float(&key("attention.layer_norm_rms_epsilon"))? as f32,
            tie_word_embeddings: gguf.tensor("output.weight").is_none(),
            qkv_bias: architecture == Architecture::Qwen2 || gguf.tensors().any(|(name, _)| is_qkv_bias(name)),
            qk_norm: architecture == Architecture::Qwen3,
            windows: vec![window; num_layers.min(super::MAX_LAYERS)],
        }
        .checked()
    }
}

/// Whether a tensor is a bias of Q, K or V, which files of every family may have.
fn is_qkv_bias(name: &str) -> bool {
    ["attn_q.bias", "attn_k.bias", "attn_v.bias"].into_iter().any(|bias| name.ends_with(bias))
}

fn refuse_split(gguf: &Gguf) -> Result<(), ConfigError> {
    let Some(files) = gguf.optional_size("split.count")?.filter(|n| *n > 1) else { return Ok(()) };
    let place = match gguf.optional_size("split.no")? {
        Some(before @ 1..) => format!("; this is file {} of them", before + 1),
        _ => String::new(),
    };
    Err(ConfigError::Unsupported(format!(
        "a GGUF model split over {files} files{place} (join them: `llama-gguf-split --merge FIRST JOINED.gguf`, where FIRST is the file `...-00001-of-{files:05}.gguf`)"
    )))
}

/// Refuses the features that change the answers and that the decoder does not have.
fn refuse(gguf: &Gguf, architecture: &str) -> Result<(), ConfigError> {
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let unsupported = |what: String| Err(ConfigError::Unsupported(what));
    if let Some(experts) = gguf.optional_size(&key("expert_count"))?.filter(|n| *n > 0) {
        return unsupported(format!("a mixture of {experts} experts"));
    }
    if gguf.optional_bool(&key("attention.causal"))? == Some(false) {
        return unsupported("attention that is not causal".into());
    }
    Ok(())
}

fn scaling(
    gguf: &Gguf,
    divisors: Option<&[u8]>,
    architecture: &str,
    context: usize,
) -> Result<RopeScaling, ConfigError> {
    let key = |suffix: &str| format!("{architecture}.rope.{suffix}");
    if let Some((place, bytes)) = gguf.tensor("rope_freqs.weight").zip(divisors) {
        if place.rows != 1 || place.encoding != Encoding::F32 {
            return Err(ConfigError::Unsupported("a `rope_freqs.weight` that is not a list of f32".into()));
        }
        let mut divisors = vec![0.0; place.cols];
        place.encoding.decode(bytes, &mut divisors);
        return Ok(RopeScaling::Divisors(divisors));
    }
    let optional = |name: &str| -> Result<Option<f64>, ConfigError> {
        Ok(gguf.get(&key(name)).map(|_| gguf.float(&key(name))).transpose()?)
    };
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
