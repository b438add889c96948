//! What tensors are called in files.

use super::LayerPart::*;
use super::{ExpertPart, TensorName};
use crate::config::{Architecture, ModelConfig};

/// Where Hugging Face files have mixtures of experts, and where those of Mixtral have them.
pub(in crate::weights) const MIXTURE: &str = ".mlp.";
pub(in crate::weights) const MIXTRAL_MIXTURE: &str = ".block_sparse_moe.";

impl TensorName {
    /// Name in a GGUF file.
    pub fn in_gguf(self) -> String {
        match self {
            TensorName::TokenEmbedding => "token_embd.weight".into(),
            TensorName::OutputNorm => "output_norm.weight".into(),
            TensorName::OutputHead => "output.weight".into(),
            TensorName::Layer { layer, part } => {
                let part = match part {
                    AttnNorm => "attn_norm.weight",
                    Q => "attn_q.weight",
                    K => "attn_k.weight",
                    V => "attn_v.weight",
                    O => "attn_output.weight",
                    QBias => "attn_q.bias",
                    KBias => "attn_k.bias",
                    VBias => "attn_v.bias",
                    QNorm => "attn_q_norm.weight",
                    KNorm => "attn_k_norm.weight",
                    AttnOutputNorm => "post_attention_norm.weight",
                    MlpNorm => "ffn_norm.weight",
                    Gate => "ffn_gate.weight",
                    // Where there is no gate, the gate is above.
                    Up | GateUp => "ffn_up.weight",
                    Down => "ffn_down.weight",
                    MlpOutputNorm => "post_ffw_norm.weight",
                    Qkv => "attn_qkv.weight",
                    Router => "ffn_gate_inp.weight",
                    GateExperts => "ffn_gate_exps.weight",
                    UpExperts => "ffn_up_exps.weight",
                    DownExperts => "ffn_down_exps.weight",
                    GateUpExperts => "ffn_gate_up_exps.weight",
                };
                format!("blk.{layer}.{part}")
            }
            // As the first files of Mixtral have it.
            TensorName::Expert { layer, expert, part } => {
                let part = match part {
                    ExpertPart::Gate => "ffn_gate",
                    ExpertPart::Up => "ffn_up",
                    ExpertPart::Down => "ffn_down",
                };
                format!("blk.{layer}.{part}.{expert}.weight")
            }
        }
    }

    /// Name in the Hugging Face safetensors of a model of this shape.
    pub fn in_hugging_face(self, config: &ModelConfig) -> String {
        let is_mixtral = config.architecture == Architecture::Mixtral;
        let mixture = if is_mixtral { MIXTRAL_MIXTURE } else { MIXTURE };
        match self {
            TensorName::TokenEmbedding => "model.embed_tokens.weight".into(),
            TensorName::OutputNorm => "model.norm.weight".into(),
            TensorName::OutputHead => "lm_head.weight".into(),
            TensorName::Layer { layer, part } => {
                let part = match part {
                    AttnNorm => "input_layernorm.weight",
                    Q => "self_attn.q_proj.weight",
                    K => "self_attn.k_proj.weight",
                    V => "self_attn.v_proj.weight",
                    O => "self_attn.o_proj.weight",
                    QBias => "self_attn.q_proj.bias",
                    KBias => "self_attn.k_proj.bias",
                    VBias => "self_attn.v_proj.bias",
                    QNorm => "self_attn.q_norm.weight",
                    KNorm => "self_attn.k_norm.weight",
                    AttnOutputNorm => "post_attention_layernorm.weight",
                    // One name for two norms: it stands between attention and MLP in all families.
                    MlpNorm if config.output_norms => "pre_feedforward_layernorm.weight",
                    MlpNorm => "post_attention_layernorm.weight",
                    Gate => "mlp.gate_proj.weight",
                    Up => "mlp.up_proj.weight",
                    Down => "mlp.down_proj.weight",
                    MlpOutputNorm => "post_feedforward_layernorm.weight",
                    Qkv => "self_attn.qkv_proj.weight",
                    GateUp => "mlp.gate_up_proj.weight",
                    Router => return format!("model.layers.{layer}{mixture}gate.weight"),
                    GateExperts => return format!("model.layers.{layer}{mixture}experts.gate_proj"),
                    UpExperts => return format!("model.layers.{layer}{mixture}experts.up_proj"),
                    DownExperts => return format!("model.layers.{layer}{mixture}experts.down_proj"),
                    GateUpExperts => return format!("model.layers.{layer}{mixture}experts.gate_up_proj"),
                };
                format!("model.layers.{layer}.{part}")
            }
            TensorName::Expert { layer, expert, part } => {
                let part = match (part, is_mixtral) {
                    (ExpertPart::Gate, true) => "w1",
                    (ExpertPart::Down, true) => "w2",
                    (ExpertPart::Up, true) => "w3",
                    (ExpertPart::Gate, false) => "gate_proj",
                    (ExpertPart::Down, false) => "down_proj",
                    (ExpertPart::Up, false) => "up_proj",
                };
                format!("model.layers.{layer}{mixture}experts.{expert}.{part}.weight")
            }
        }
    }
}
