//! How blocks are scored and which scores are kept: what the published methods differ in.

use super::BlockLevels;
use serde::{Deserialize, Serialize};

/// A score and a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Selector {
    /// Of each (q tile, kv block).
    pub score: BlockScore,
    /// Which blocks of a tile a threshold keeps.
    pub rule: BlockRule,
}

impl Default for Selector {
    /// Row peaks of every fourth row by share: as good as any we know, and cheap.
    fn default() -> Self {
        Self { score: BlockScore::RowPeak { stride: 4 }, rule: BlockRule::Share }
    }
}

/// What a q tile sees in a kv block, estimated without the block's keys. `s` is `sm_scale`, `k_b` the mean key of block
/// `b`, sums and maxima over `i` are over the rows of the tile. Costs are shares of the tile's `Q K^T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockScore {
    /// `max_i softmax_b(s q_i . k_b)` over every `stride`-th row: what some row needs. Costs `1 / (64 stride)`.
    RowPeak {
        /// 1, 2 or 4. Rows near each other need much the same, so 4 keeps as much as 1 (`docs/selectors.md`).
        stride: usize,
    },
    /// `mean_i softmax_b(s q_i . k_b)`: the tile's mass. Costs 1/64.
    RowMass,
    /// `sum_i exp(s q_i . k_b - M)`, `M` the tile's maximum, over its sum: rows are not normalised by themselves
    /// (FlashPrefill V2, arXiv 2608.19758, which keeps a fraction of the tile's maximum). Costs 1/64.
    TileMass,
    /// `softmax_b(s mean_i(q_i) . k_b)` (MInference's block-sparse pattern, arXiv 2407.02490; FlexPrefill's query-aware
    /// one, arXiv 2502.20766). Costs 1/4096.
    Pooled,
    /// Sums of the softmax over every `stride`-th antidiagonal of the logits (XAttention, arXiv 2503.16428). Costs
    /// `1 / stride`, 8 or 16.
    Antidiagonal {
        /// Distance between antidiagonals; divides 64.
        stride: usize,
    },
}

/// What a threshold means. Each rule gives every block a value, 1 for what it keeps first, and keeps values above a
/// threshold `t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockRule {
    /// The score itself: at least the share `t`. Needs no sort and looks at one block only.
    Share,
    /// Score over the tile's largest (FlashPrefill's alpha).
    FractionOfMax,
    /// One minus the scores of all larger ones: the largest that together hold `1 - t` (FlexPrefill's gamma, XAttention's
    /// tau).
    CumulativeMass,
    /// One over the rank: the `1 / t` largest.
    TopK,
}

impl BlockRule {
    /// Levels of one tile's blocks from their scores, which are shares that sum to about 1.
    pub(super) fn levels(self, scores: &[f32], levels: &mut [u8]) {
        match self {
            BlockRule::Share => {
                scores.iter().zip(levels).for_each(|(score, level)| *level = BlockLevels::of_value(*score))
            }
            BlockRule::FractionOfMax => {
                let top = scores.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
                scores.iter().zip(levels).for_each(|(score, level)| *level = BlockLevels::of_value(score / top));
            }
            BlockRule::CumulativeMass | BlockRule::TopK => {
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
                let total: f32 = scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
                let mut above = 0.0;
                for (rank, block) in order.into_iter().enumerate() {
                    levels[block] = BlockLevels::of_value(match self {
                        BlockRule::TopK => 1.0 / (rank + 1) as f32,
                        _ => (1.0 - above / total).max(0.0),
                    });
                    above += scores[block];
                }
            }
        }
    }
}
