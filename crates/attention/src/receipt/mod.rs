//! What a plan kept, by exact rows that took no part in choosing it.
//!
//! Of every sparse head a few rows are drawn at random, one from each of as many equal parts of the chunk, and none that the search
//! has probed. Their exact attention says what the plan kept of it; heads that compute every pair keep all and need no draw. Draws
//! of several chunks and heads add up ([`Drawn`]), and an [`interval`](interval95) that holds for any distribution says how far
//! they may be from all rows.

mod interval;

use crate::Error;
use crate::plan::{HeadPlan, Plan, SparsePlan};
use crate::planner::Scene;
use crate::search::probe::{Panel, scatter, with_panels};
use crate::search::probe_rows;
use crate::shape::Tiles;
use crate::simd::LANES;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use interval::{Row, interval95};

/// A panel of rows is drawn of each sparse head for so many rows of a chunk, at least one.
const ROWS_OF_A_PANEL: usize = 4096;

/// Rows drawn of a layer, of one chunk or several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// Queries of all heads together, of those that keep everything too.
    queries: u64,
    /// The rows.
    rows: Vec<Row>,
}

/// Attention mass kept, mean over queries and heads; centres count nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// As the rows have it.
    pub kept: f64,
    /// 95% interval.
    pub ci95: [f64; 2],
    /// Rows that it was computed of; 0 where every head computed every pair.
    pub rows: usize,
}

impl Drawn {
    /// Draws rows of each sparse head of `plan` and computes what it keeps of their attention. The same seed draws the same rows.
    ///
    /// # Errors
    /// When plan and operands do not belong together, or memory does not suffice.
    pub fn of(scene: &Scene, plan: &Plan, seed: u64) -> Result<Self, Error> {
        scene.check()?;
        plan.check(scene.queries.heads().num_q_heads(), scene.range())?;
        let range = scene.range();
        let sparse: Vec<(usize, &SparsePlan)> = (plan.heads.iter().enumerate())
            .filter_map(|(head, plan)| match plan {
                HeadPlan::Sparse(plan) => Some((head, plan)),
                HeadPlan::Dense | HeadPlan::Window(_) => None,
            })
            .collect();
        let rows = sparse.into_par_iter().with_max_len(1).map(|(head, plan)| {
            let seed = [scene.layer, head, range.q_start()].iter().fold(seed, |seed, n| scatter(seed ^ *n as u64));
            rows_of_head(scene, head, plan, seed)
        });
        let queries = (plan.heads.len() * range.q_len()) as u64;
        Ok(Self { queries, rows: rows.collect::<Result<Vec<_>, _>>()?.concat() })
    }

    /// All pairs of so many queries, heads together: nothing needs to be drawn.
    pub fn all_pairs(queries: u64) -> Self {
        Self { queries, rows: Vec::new() }
    }

    /// What was kept.
    pub fn kept(&self) -> Kept {
        let drawn_of: f64 = self.rows.iter().map(|row| row.queries).sum();
        let share = if self.queries == 0 { 0.0 } else { drawn_of / self.queries as f64 };
        // The other queries keep everything.
        let of_all = |kept: f64| 1.0 - share * (1.0 - kept);
        let (mean, [low, high]) = interval95(&self.rows);
        Kept { kept: of_all(mean), ci95: [of_all(low), of_all(high)], rows: self.rows.len() }
    }
}

impl std::ops::AddAssign for Drawn {
    fn add_assign(&mut self, other: Self) {
        self.queries += other.queries;
        self.rows.extend(other.rows);
    }
}

/// The rows of a chunk that the search has not seen; all of them where it has seen all.
fn unprobed(tiles: Tiles) -> Vec<usize> {
    let range = tiles.range();
    let mut is_probe = vec![false; range.q_len()];
    probe_rows(tiles).into_iter().for_each(|row| is_probe[row] = true);
    let rows: Vec<usize> = (0..range.q_len()).filter(|row| !is_probe[*row]).collect();
    if rows.is_empty() { (0..range.q_len()).collect() } else { rows }
}

fn rows_of_head(scene: &Scene, head: usize, plan: &SparsePlan, seed: u64) -> Result<Vec<Row>, Error> {
    let (q_len, unprobed) = (scene.range().q_len(), unprobed(plan.tiles()));
    let parts = (LANES * q_len.div_ceil(ROWS_OF_A_PANEL)).min(unprobed.len());
    let drawn: Vec<(usize, f64)> = (0..parts)
        .map(|part| {
            let candidates = &unprobed[part * unprobed.len() / parts..(part + 1) * unprobed.len() / parts];
            let at = scatter(seed ^ part as u64) % candidates.len() as u64;
            (candidates[at as usize], candidates.len() as f64 / unprobed.len() as f64 * q_len as f64)
        })
        .collect();
    // Lanes without a row look at the first once more, and are not read.
    let panels = drawn.chunks(LANES);
    let panels = panels.map(|rows| std::array::from_fn(|lane| rows.get(lane).unwrap_or(&rows[0]).0)).collect();
    with_panels(scene.simd, scene.queries, scene.kv, plan.tiles(), head, panels, |panels| {
        let row = |(at, (_, queries)): (usize, &(usize, f64))| Row {
            kept: kept_of_row(plan, &panels[at / LANES], at % LANES),
            queries: *queries,
        };
        Ok(drawn.iter().enumerate().map(row).collect())
    })
}

/// Attention of a row that a plan computes, in its blocks and in columns outside them.
fn kept_of_row(plan: &SparsePlan, panel: &Panel, lane: usize) -> f64 {
    let blocks = plan.blocks(panel.tile(lane));
    let in_blocks: f64 = blocks.iter().map(|block| panel.block_shares[*block as usize][lane] as f64).sum();
    let is_outside = |column: &&u32| blocks.binary_search(&(**column / crate::BLOCK_N as u32)).is_err();
    let columns = plan.columns().iter().filter(is_outside);
    let in_columns: f64 = columns.map(|column| panel.key_share(*column as usize, lane) as f64).sum();
    (in_blocks + in_columns).min(1.0)
}

#[cfg(test)]
mod tests;
