//! What a plan leaves out, bounded from what is there anyway: log-sum-exp, mean keys, key radii.
//!
//! A key `k` of block `b` is within `r_b` of the mean key `m_b`, so its logit is at most `s (q . m_b + |q| r_b)`. Summed over
//! the left-out keys of a row that gives `U`, and by Jensen's inequality the same sum without radii, `L`, is what they
//! have at least. With the mass `K` of the computed keys the row drops a share between `L / (K + L)` and `U / (K + U)`.
//!
//! The upper bound assumes the worst key in every block, so on real heads it is often 1; where it is small it is proof.

use crate::attend::{Output, attend_heads};
use crate::kv::KvView;

use crate::pattern::{HeadPattern, key_means, mean_key_logits};
use crate::plan::{HeadPlan, SparsePlan};
use crate::planner::{Planned, Scene};
use crate::simd::LANES;
use crate::{BLOCK_N, Error};
use half::bf16;
use rayon::prelude::*;
use serde::Serialize;
use std::f32::consts::LOG2_E;

/// Attention mass that a head's plan leaves out, over the rows of a chunk. Shares of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DroppedMass {
    /// Mean of the rows' lower bounds.
    pub at_least: f64,
    /// Mean of the rows' upper bounds.
    pub at_most: f64,
    /// Largest upper bound of a row.
    pub worst_row: f64,
}

/// Recomputes densely every head of which more than `limit` may have been dropped, on average over its rows; `output` was
/// computed for `planned`, and both are updated. Returns the bounds that hold afterwards, one for each query head.
///
/// # Errors
/// When the operands do not belong together.
pub fn enforce(
    scene: &Scene,
    limit: f32,
    planned: &mut Planned,
    output: &mut Output,
) -> Result<Vec<DroppedMass>, Error> {
    let plans = &planned.plan.heads;
    let mut bounds: Vec<DroppedMass> =
        (plans.par_iter().enumerate()).map(|(head, plan)| dropped_mass(scene, head, plan, output)).collect();
    let above: Vec<bool> = bounds.iter().map(|bound| bound.at_most > limit as f64).collect();
    if above.contains(&true) {
        for head in (0..above.len()).filter(|&head| above[head]) {
            planned.plan.heads[head] = HeadPlan::Dense;
            planned.choices[head].pattern = HeadPattern::Dense;
            planned.choices[head].recall = 1.0;
            bounds[head] = DroppedMass::default();
        }
        let Scene { simd, queries, kv, .. } = *scene;
        attend_heads(simd, queries, kv, scene.range(), &planned.plan, output, |head| above[head])?;
    }
    Ok(bounds)
}

/// Bounds for one head of a scene that `output` was computed for.
pub fn dropped_mass(scene: &Scene, head: usize, plan: &HeadPlan, output: &Output) -> DroppedMass {
    let HeadPlan::Sparse(plan) = plan else { return DroppedMass::default() };
    let kv_head = scene.queries.heads().kv_head(head);
    let blocks = Blocks::new(scene.kv, kv_head, plan);
    let key_means = key_means(scene.kv, kv_head);
    let mut sum = DroppedMass::default();
    let (tiles, mut tile) = (plan.tiles(), 0);
    mean_key_logits(scene.simd, scene.queries, head, &key_means, tiles, |_, panels| {
        let left_out = blocks.left_out(plan, tile, tiles.full_blocks(tile));
        for (panel, (valid, logits)) in panels.enumerate() {
            for lane in 0..valid {
                let row = tile * tiles.block_m() + panel * LANES + lane;
                let norm = query_norm(scene, head, row);
                let base_2_lse = output.lse(head, row) * LOG2_E;
                let of_row =
                    blocks.row(plan.centres(), &left_out, base_2_lse, norm, |block| logits[block * LANES + lane]);
                sum.at_least += of_row.at_least;
                sum.at_most += of_row.at_most;
                sum.worst_row = sum.worst_row.max(of_row.at_most);
            }
        }
        tile += 1;
    });
    let rows = scene.range().q_len() as f64;
    DroppedMass { at_least: sum.at_least / rows, at_most: sum.at_most / rows, ..sum }
}

/// What the bounds need of each block.
struct Blocks {
    /// Keys that are not columns.
    rest: Vec<f32>,
    radii: Vec<f32>,
    /// How far the bf16 mean may be from the mean.
    rounding: Vec<f32>,
}

/// Rounding of logits and of log-sum-exp themselves, in base-2 logarithms.
const SUM_ROUNDING: f32 = 1e-2;

impl Blocks {
    fn new(kv: &KvView, kv_head: usize, plan: &SparsePlan) -> Self {
        let mut rest = vec![BLOCK_N as f32; kv.num_blocks()];
        plan.columns().iter().for_each(|column| rest[*column as usize / BLOCK_N] -= 1.0);
        let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        Self {
            rest,
            radii: (0..kv.num_blocks()).map(|block| kv.key_radius(block, kv_head)).collect(),
            rounding: (0..kv.num_blocks()).map(|block| length(kv.key_mean(block, kv_head)) / 256.0).collect(),
        }
    }

    /// Fully visible blocks that a tile does not compute.
    fn left_out(&self, plan: &SparsePlan, tile: usize, full: usize) -> Vec<usize> {
        let mut computed = vec![false; self.rest.len()];
        plan.blocks(tile).iter().for_each(|block| computed[*block as usize] = true);
        (0..full).filter(|&block| !computed[block] && self.rest[block] > 0.0).collect()
    }

    /// `logit` is the base-2 logit with a block's mean key, `norm` that of the scaled query.
    fn row(&self, centres: bool, left_out: &[usize], lse: f32, norm: f32, logit: impl Fn(usize) -> f32) -> DroppedMass {
        let share = |exponent: &dyn Fn(usize) -> f32| -> f64 {
            left_out.iter().map(|&block| self.rest[block] as f64 * ((exponent(block) - lse) as f64).exp2()).sum()
        };
        // Columns of a block are not part of its rest, whose mean is then unknown but within the radius.
        let least = |block: usize| match self.rest[block] < BLOCK_N as f32 {
            true => logit(block) - norm * (self.radii[block] + self.rounding[block]),
            false => logit(block) - norm * self.rounding[block],
        };
        let most = |block: usize| logit(block) + norm * (self.radii[block] + self.rounding[block]);
        // Both are shares of what the row computed.
        let (low, high) = (share(&|block| least(block) - SUM_ROUNDING), share(&|block| most(block) + SUM_ROUNDING));
        // With centres that holds an estimate of what was left out, which lies between the two.
        let (at_least, at_most) = match centres {
            true => (low, high),
            false => (low / (1.0 + low), high / (1.0 + high)),
        };
        DroppedMass { at_least: at_least.min(1.0), at_most: at_most.min(1.0), worst_row: 0.0 }
    }
}

/// Length of a query as the kernels have it: scaled, in base 2.
fn query_norm(scene: &Scene, head: usize, row: usize) -> f32 {
    let panel = scene.queries.panels(head, row / LANES, 1);
    let of_lane = |pair: &[bf16]| {
        let at = 2 * (row % LANES);
        pair[at].to_f32().powi(2) + pair[at + 1].to_f32().powi(2)
    };
    panel.chunks_exact(2 * LANES).map(of_lane).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests;
