//! Mixtures of experts: how many there are, and how a token gets to its own.

use super::{Architecture, ConfigError};
use crate::formats::gguf::{Gguf, Value};
use serde::Deserialize;

/// MLPs of which each token takes a few: those with the largest share of a softmax over the router's products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// How many of them each token takes.
    pub per_token: usize,
    /// Width of each.
    pub intermediate_size: usize,
    /// Whether the shares of those that a token takes are divided by their sum.
    pub normalised: bool,
    /// For each layer whether it has experts, or one MLP for all tokens.
    pub layers: Vec<bool>,
}

/// Far above any model that exists.
pub(crate) const MAX_EXPERTS: usize = 1 << 12;

impl Experts {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("number of experts", self.count, MAX_EXPERTS),
            ("number of experts of a token", self.per_token, self.count),
            ("size of an expert", self.intermediate_size, super::MAX_SIZE),
        ];
        match sizes.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            None => Ok(()),
            Some((what, size, most)) => {
                Err(ConfigError::Size { what, found: size.to_string(), expected: format!("1 to {most}") })
            }
        }
    }

    /// What a GGUF file says of them; `name` is the architecture's there.
    pub(super) fn from_gguf(
        gguf: &Gguf,
        name: &str,
        architecture: Architecture,
        intermediate_size: usize,
        layers: usize,
    ) -> Result<Option<Self>, ConfigError> {
        let key = |suffix: &str| format!("{name}.expert_{suffix}");
        let count = gguf.optional_size(&key("count"))?.unwrap_or(0);
        if !matches!(architecture, Architecture::Qwen3Moe | Architecture::Mixtral) {
            return match count {
                0 => Ok(None),
                _ => Err(ConfigError::Unsupported(format!("a mixture of {count} experts in a `{name}` model"))),
            };
        }
        refuse_keys(gguf, &key(""))?;
        let per_token = gguf.size(&key("used_count"))?;
        let intermediate_size = match architecture {
            // Where files of Qwen3-MoE do not say it, the experts of a token are as wide as its MLP would be.
            Architecture::Qwen3Moe => match gguf.optional_size(&key("feed_forward_length"))? {
                Some(size) => size,
                None => intermediate_size.checked_div(per_token).unwrap_or(0),
            },
            _ => intermediate_size,
        };
        Ok(Some(Self { count, per_token, intermediate_size, normalised: true, layers: vec![true; layers] }))
    }
}

/// Refuses other ways to route than softmax, the largest, divided by their sum.
fn refuse_keys(gguf: &Gguf, prefix: &str) -> Result<(), ConfigError> {
    for name in gguf.keys().filter_map(|key| key.strip_prefix(prefix)) {
        let value = gguf.get(&format!("{prefix}{name}"));
        let changes_nothing = match (name, value) {
            ("count" | "used_count" | "feed_forward_length", _) => true,
            ("weights_norm", Some(Value::Bool(normalised))) => *normalised,
            // Readers take 0 as none.
            ("weights_scale", Some(Value::Float(scale))) => [0.0, 1.0].contains(scale),
            // 1 is a softmax, 0 what the family has.
            ("gating_func", Some(Value::Integer(function))) => [0, 1].contains(function),
            ("group_count" | "group_used_count", Some(Value::Integer(groups))) => *groups <= 1,
            (_, Some(Value::Integer(number))) => *number == 0,
            _ => false,
        };
        if !changes_nothing {
            return Err(ConfigError::Unsupported(format!("a mixture of experts by `{prefix}{name}`")));
        }
    }
    Ok(())
}

/// What `config.json` says of experts.
#[derive(Deserialize)]
pub(super) struct ExpertFields {
    /// Two names of one thing.
    num_experts: Option<usize>,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    /// Every so many layers one has experts.
    decoder_sparse_step: Option<usize>,
    /// Layers that have none.
    mlp_only_layers: Option<Vec<usize>>,
    n_shared_experts: Option<usize>,
    num_shared_experts: Option<usize>,
    shared_expert_intermediate_size: Option<usize>,
    n_group: Option<usize>,
    num_expert_group: Option<usize>,
    scoring_func: Option<String>,
    routed_scaling_factor: Option<f64>,
}

impl ExpertFields {
    /// The experts of a model of `layers` layers, if its family has them; what is missing is the family's default.
    pub(super) fn experts(
        &self,
        architecture: Architecture,
        intermediate_size: usize,
        layers: usize,
    ) -> Result<Option<Experts>, ConfigError> {
        let count = self.num_experts.or(self.num_local_experts);
        let experts = match architecture {
            Architecture::Qwen3Moe => {
                let step = self.decoder_sparse_step.unwrap_or(1);
                if step == 0 {
                    let (found, expected) = ("0".into(), "at least 1 layer".into());
                    return Err(ConfigError::Size { what: "decoder_sparse_step", found, expected });
                }
                let dense = self.mlp_only_layers.as_deref().unwrap_or_default();
                let is_routed = |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
                Experts {
                    count: count.unwrap_or(128),
                    per_token: self.num_experts_per_tok.unwrap_or(8),
                    intermediate_size: self.moe_intermediate_size.unwrap_or(768),
                    normalised: self.norm_topk_prob.unwrap_or(false),
                    layers: (0..layers).map(is_routed).collect(),
                }
            }
            Architecture::Mixtral => Experts {
                count: count.unwrap_or(8),
                per_token: self.num_experts_per_tok.unwrap_or(2),
                intermediate_size,
                normalised: true,
                layers: vec![true; layers],
            },
            _ => return Ok(None),
        };
        self.refuse_variants()?;
        Ok(Some(experts))
    }

    /// Refuses what would change the answers, of families that say such things in the same words.
    fn refuse_variants(&self) -> Result<(), ConfigError> {
        let counts = [
            ("n_shared_experts", self.n_shared_experts, 0),
            ("num_shared_experts", self.num_shared_experts, 0),
            ("shared_expert_intermediate_size", self.shared_expert_intermediate_size, 0),
            ("n_group", self.n_group, 1),
            ("num_expert_group", self.num_expert_group, 1),
        ];
        let of = |name: &str, value: &dyn std::fmt::Display| {
            Err(ConfigError::Unsupported(format!("a mixture of experts with `{name}` of {value}")))
        };
        if let Some((name, Some(count), _)) = counts.iter().find(|(_, count, most)| count.is_some_and(|n| n > *most)) {
            return of(name, count);
        }
        match (&self.scoring_func, self.routed_scaling_factor) {
            (Some(function), _) if function != "softmax" => of("scoring_func", function),
            (_, Some(factor)) if factor != 1.0 => of("routed_scaling_factor", &factor),
            _ => Ok(()),
        }
    }
}
