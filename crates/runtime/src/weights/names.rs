//! The tensors of a model, where files may have them, and what shape they must have.

mod spelling;

use crate::config::{MAX_EXPERTS, ModelConfig};
use std::ops::Range;

pub(super) use spelling::{MIXTRAL_MIXTURE, MIXTURE};

/// A tensor by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorName {
    /// `[vocab_size, hidden_size]`.
    TokenEmbedding,
    /// Norm weight behind the last layer.
    OutputNorm,
    /// `[vocab_size, hidden_size]`.
    OutputHead,
    /// Part of a decoder layer.
    Layer {
        /// Layer, from 0.
        layer: usize,
        /// Which tensor of it.
        part: LayerPart,
    },
    /// Part of an expert of a decoder layer.
    Expert {
        /// Layer, from 0.
        layer: usize,
        /// Expert, from 0.
        expert: usize,
        /// Which tensor of it.
        part: ExpertPart,
    },
}

/// The tensors of an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExpertPart {
    Gate,
    Up,
    Down,
}

/// The tensors of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerPart {
    AttnNorm,
    Q,
    K,
    V,
    O,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    /// Of what attention gives.
    AttnOutputNorm,
    MlpNorm,
    Gate,
    Up,
    Down,
    /// Of what the MLP gives.
    MlpOutputNorm,
    /// In place of Q, K and V in some files.
    Qkv,
    /// In place of gate and up in some files.
    GateUp,
    /// What the choice of experts is made by.
    Router,
    /// All experts, one above the other, in place of one tensor an expert in some files.
    GateExperts,
    UpExperts,
    DownExperts,
    /// The gate of the first expert, its up projection, the gate of the second.
    GateUpExperts,
}

use LayerPart::*;

/// Above the places of all tensors that are no experts.
const BEFORE_EXPERTS: usize = 1 << 20;

/// A tensor that files may have in place of several, one above the other.
pub(super) struct Fused {
    /// All of it.
    pub(super) whole: TensorName,
    /// The first of the several: with it, files have them all.
    pub(super) first_part: TensorName,
    /// Rows of the one in question.
    pub(super) rows: Range<usize>,
}

impl LayerPart {
    /// Parts that a decoder asks for; fused ones are a matter of files.
    const ALL: [LayerPart; 17] = [
        AttnNorm,
        Q,
        K,
        V,
        O,
        QBias,
        KBias,
        VBias,
        QNorm,
        KNorm,
        AttnOutputNorm,
        MlpNorm,
        Gate,
        Up,
        Down,
        MlpOutputNorm,
        Router,
    ];

    /// Parts that a layer of this model has.
    fn of(config: &ModelConfig, layer: usize) -> impl Iterator<Item = LayerPart> {
        let (bias, norm, output_norms) = (config.qkv_bias, config.qk_norm, config.output_norms);
        let routed = config.experts_of(layer).is_some();
        Self::ALL.into_iter().filter(move |part| match part {
            QBias | KBias | VBias => bias,
            QNorm | KNorm => norm,
            AttnOutputNorm | MlpOutputNorm => output_norms,
            Gate | Up | Down => !routed,
            Router => routed,
            _ => true,
        })
    }
}

impl ExpertPart {
    const ALL: [ExpertPart; 3] = [ExpertPart::Gate, ExpertPart::Up, ExpertPart::Down];
}

impl TensorName {
    /// All tensors that this model needs.
    pub(crate) fn of(config: &ModelConfig) -> impl Iterator<Item = TensorName> {
        let of_layer = |layer| {
            let parts = LayerPart::of(config, layer).map(move |part| TensorName::Layer { layer, part });
            let experts = config.experts_of(layer).map_or(0, |experts| experts.count);
            parts.chain((0..experts).flat_map(move |expert| {
                ExpertPart::ALL.into_iter().map(move |part| TensorName::Expert { layer, expert, part })
            }))
        };
        let outside = [TensorName::TokenEmbedding, TensorName::OutputNorm, TensorName::OutputHead];
        outside.into_iter().chain((0..config.num_layers).flat_map(of_layer))
    }

    /// Whether it is the bias of Q, K or V.
    pub(super) fn is_qkv_bias(self) -> bool {
        matches!(self, TensorName::Layer { part: QBias | KBias | VBias, .. })
    }

    /// Whether it is the weight of a norm.
    pub(super) fn is_norm(self) -> bool {
        let of_layer = |part| matches!(part, AttnNorm | QNorm | KNorm | AttnOutputNorm | MlpNorm | MlpOutputNorm);
        match self {
            TensorName::OutputNorm => true,
            TensorName::Layer { part, .. } => of_layer(part),
            TensorName::TokenEmbedding | TensorName::OutputHead | TensorName::Expert { .. } => false,
        }
    }

    /// Where files may have this tensor among others in one; all possibilities.
    pub(super) fn fused(self, config: &ModelConfig) -> Vec<Fused> {
        match self {
            TensorName::TokenEmbedding | TensorName::OutputNorm | TensorName::OutputHead => Vec::new(),
            TensorName::Layer { layer, part } => Self::fused_part(layer, part, config).into_iter().collect(),
            TensorName::Expert { layer, expert, part } => {
                let rows = self.shape(config).0;
                let of = |part, place: usize| Fused {
                    whole: TensorName::Layer { layer, part },
                    first_part: TensorName::Expert { layer, expert: 0, part: ExpertPart::Gate },
                    rows: place * rows..(place + 1) * rows,
                };
                match part {
                    ExpertPart::Gate => vec![of(GateExperts, expert), of(GateUpExperts, 2 * expert)],
                    ExpertPart::Up => vec![of(UpExperts, expert), of(GateUpExperts, 2 * expert + 1)],
                    ExpertPart::Down => vec![of(DownExperts, expert)],
                }
            }
        }
    }

    fn fused_part(layer: usize, part: LayerPart, config: &ModelConfig) -> Option<Fused> {
        let (whole, parts) = match part {
            Q | K | V => (Qkv, &[Q, K, V][..]),
            Gate | Up => (GateUp, &[Gate, Up][..]),
            _ => return None,
        };
        let of = |part| TensorName::Layer { layer, part };
        let rows_of = |part: &LayerPart| of(*part).shape(config).0;
        let first = parts.iter().take_while(|other| **other != part).map(rows_of).sum();
        Some(Fused { whole: of(whole), first_part: of(parts[0]), rows: first..first + rows_of(&part) })
    }

    /// A number of its own, for tensors that are made up.
    pub(super) fn place(self) -> usize {
        match self {
            TensorName::TokenEmbedding => 0,
            TensorName::OutputNorm => 1,
            TensorName::OutputHead => 2,
            TensorName::Layer { layer, part } => 3 + layer * LayerPart::ALL.len() + part as usize,
            TensorName::Expert { layer, expert, part } => {
                let before = (layer * MAX_EXPERTS + expert) * ExpertPart::ALL.len();
                BEFORE_EXPERTS + before + part as usize
            }
        }
    }

    /// Rows and columns in a model of this shape.
    pub(super) fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, inter) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.num_q_heads * config.head_dim, config.num_kv_heads * config.head_dim);
        let (experts, of_expert) =
            config.experts.as_ref().map_or((0, 0), |experts| (experts.count, experts.intermediate_size));
        match self {
            TensorName::TokenEmbedding | TensorName::OutputHead => (config.vocab_size, hidden),
            TensorName::OutputNorm => (1, hidden),
            TensorName::Layer { part, .. } => match part {
                AttnNorm | AttnOutputNorm | MlpNorm | MlpOutputNorm => (1, hidden),
                Qkv => (q + 2 * kv, hidden),
                GateUp => (2 * inter, hidden),
                Q => (q, hidden),
                K | V => (kv, hidden),
                O => (hidden, q),
                QBias => (1, q),
                KBias | VBias => (1, kv),
                QNorm | KNorm => (1, config.head_dim),
                Gate | Up => (inter, hidden),
                Down => (hidden, inter),
                Router => (experts, hidden),
                GateExperts | UpExperts => (experts * of_expert, hidden),
                GateUpExperts => (2 * experts * of_expert, hidden),
                DownExperts => (experts * hidden, of_expert),
            },
            TensorName::Expert { part, .. } => match part {
                ExpertPart::Gate | ExpertPart::Up => (of_expert, hidden),
                ExpertPart::Down => (hidden, of_expert),
            },
        }
    }
}
