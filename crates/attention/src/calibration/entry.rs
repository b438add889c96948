//! Costs of one head size, as the file has them.

use crate::search::CostModel;
use serde::{Deserialize, Serialize};

/// See [`CostModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub head_dim: usize,
    step_us: f64,
    gathered_step: f64,
    gather_key: f64,
    gather_centre: f64,
    tile: f64,
    score_block: f64,
    probe_block: f64,
    choose_block: f64,
    /// Version 1 had none, and CPUs need none.
    #[serde(default)]
    pub search_head: f64,
}

impl Entry {
    pub fn new(head_dim: usize, costs: &CostModel) -> Self {
        Self {
            head_dim,
            step_us: costs.step_us.unwrap_or(f64::NAN),
            gathered_step: costs.gathered_step,
            gather_key: costs.gather_key,
            gather_centre: costs.gather_centre,
            tile: costs.tile,
            score_block: costs.score_block,
            probe_block: costs.probe_block,
            choose_block: costs.choose_block,
            search_head: costs.search_head,
        }
    }

    pub fn costs(&self) -> CostModel {
        CostModel {
            step_us: Some(self.step_us),
            gathered_step: self.gathered_step,
            gather_key: self.gather_key,
            gather_centre: self.gather_centre,
            tile: self.tile,
            score_block: self.score_block,
            probe_block: self.probe_block,
            choose_block: self.choose_block,
            search_head: self.search_head,
            ..CostModel::default()
        }
    }
}
