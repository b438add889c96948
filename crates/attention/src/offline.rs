//! The offline search: one pattern for each head, found once on sample prompts.
//!
//! As the paper says (arXiv 2412.06198, section 3; the scheme is MInference's, arXiv 2407.02490, algorithm 1): each head walks
//! through its search space, every kind of pattern is made larger or smaller until its predicted time meets the budget,
//! and the kind with the smallest output error wins.
//!
//! The walk goes in rounds. In each, all prompts pass through the model densely, and in every layer every kind of pattern
//! also computes its output with the size that it has now. Afterwards each (head, kind) halves the distance to the
//! largest size within the budget.

use crate::attend::{Output, attend};
use crate::plan::{HeadPlan, Plan};
use crate::planner::{Planned, Planner, Scene};
use crate::search::{CostModel, Target};
use crate::shape::Tiles;
use crate::static_patterns::{StaticPattern, StaticPatterns};
use crate::{BLOCK_N, Error};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A kind of pattern with one size left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Size: blocks of the window.
    Triangular,
    /// Size: block diagonals.
    IntervalSlash { columns: usize },
    /// Size: level.
    BlockCluster { columns: usize },
    /// Size: blocks.
    TopBlocks,
}

const KINDS: [Kind; 8] = [
    Kind::Triangular,
    Kind::IntervalSlash { columns: 64 },
    Kind::IntervalSlash { columns: 256 },
    Kind::IntervalSlash { columns: 1024 },
    Kind::BlockCluster { columns: 0 },
    Kind::BlockCluster { columns: 256 },
    Kind::BlockCluster { columns: 1024 },
    Kind::TopBlocks,
];

impl Kind {
    fn with_size(self, size: usize) -> StaticPattern {
        match self {
            Kind::Triangular => StaticPattern::Triangular { sink: BLOCK_N, window: size * BLOCK_N },
            Kind::IntervalSlash { columns } => StaticPattern::IntervalSlash { columns, slashes: size * BLOCK_N },
            Kind::BlockCluster { columns } => StaticPattern::BlockCluster { level: size as u8, columns },
            Kind::TopBlocks => StaticPattern::TopBlocks { blocks: size },
        }
    }

    /// Sizes above it change nothing.
    fn largest(self, num_blocks: usize) -> usize {
        match self {
            Kind::BlockCluster { .. } => crate::pattern::BlockLevels::MAX as usize,
            _ => num_blocks,
        }
    }
}

/// A pattern that was tried on a head.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// With its sizes.
    #[serde(flatten)]
    pub pattern: StaticPattern,
    /// Predicted time over dense attention's.
    pub cost: f64,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Relative L2 error of the head's output.
    pub error: f64,
    /// Whether it met the budget.
    pub within: bool,
}

/// One head: all that was tried, and which of it was chosen.
#[derive(Clone, Debug, Serialize)]
pub struct HeadReport {
    /// Layer.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// Index into `tried`.
    pub chosen: usize,
    /// Every candidate, in the order tried.
    pub tried: Vec<Tried>,
}

/// Sums over the prompts of one round.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    cost: f64,
    dense_cost: f64,
    pairs: f64,
    causal_pairs: f64,
    squared_error: f64,
    squared_output: f64,
}

/// One (head, kind) on its way.
#[derive(Clone, Debug)]
struct Walk {
    size: usize,
    /// Largest size known to meet the budget.
    within: usize,
    /// Smallest size known not to.
    over: usize,
    sums: Sums,
}

impl Walk {
    fn new(largest: usize) -> Self {
        Self { size: (largest / 4).max(1), within: 0, over: largest + 1, sums: Sums::default() }
    }

    /// Close enough that another size would change the cost by less than a twelfth.
    fn done(&self) -> bool {
        self.over - self.within <= 1 + self.within / 12
    }

    fn step(&mut self, within: bool) {
        match within {
            true => self.within = self.size,
            false => self.over = self.size,
        }
        self.size = self.within.midpoint(self.over).max(1);
        self.sums = Sums::default();
    }
}

struct Head {
    walks: Vec<Walk>,
    tried: Vec<Tried>,
}

/// A [`Planner`] that computes densely and learns. Take prompts through the model with it, call
/// [`finish_round`](Self::finish_round), and repeat until that says that nothing is left to try.
pub struct OfflineSearch {
    share: f64,
    prices: CostModel,
    centres: bool,
    num_blocks: usize,
    heads: Mutex<BTreeMap<(usize, usize), Head>>,
}

impl OfflineSearch {
    /// Searches for the patterns with the least error among those whose predicted cost, by `cost`, meets the target's
    /// share of dense attention. No prompt will have more than `longest` tokens.
    ///
    /// # Errors
    /// When the target is a recall: sizes fixed beforehand keep no recall.
    pub fn new(target: Target, cost: &CostModel, longest: usize) -> Result<Self, Error> {
        let (share, prices) = match target {
            Target::Cost(share) => (share, cost.clone()),
            Target::Density(share) => (share, CostModel::pairs()),
            Target::Recall(share) => {
                let found = format!("a recall of {share}");
                return Err(Error::Parameter { what: "offline search", expected: "a density or cost budget", found });
            }
        };
        let num_blocks = longest.div_ceil(BLOCK_N).max(1);
        Ok(Self { share: share as f64, prices, centres: true, num_blocks, heads: Mutex::default() })
    }

    /// Ends a round; whether another would try anything new.
    pub fn finish_round(&mut self) -> bool {
        let heads = self.heads.get_mut().expect("no planner panicked");
        let mut more = false;
        for head in heads.values_mut() {
            for (kind, walk) in KINDS.iter().zip(&mut head.walks) {
                if walk.done() || walk.sums.dense_cost == 0.0 {
                    continue;
                }
                let sums = walk.sums;
                let cost = sums.cost / sums.dense_cost;
                let within = cost <= self.share;
                head.tried.push(Tried {
                    pattern: kind.with_size(walk.size),
                    cost,
                    density: sums.pairs / sums.causal_pairs,
                    error: (sums.squared_error / sums.squared_output.max(f64::MIN_POSITIVE)).sqrt(),
                    within,
                });
                walk.step(within);
                more |= !walk.done();
            }
        }
        more
    }

    /// The pattern of every head, and why.
    ///
    /// Where nothing met the budget, which sink, diagonal and columns may already exceed, it is the cheapest.
    ///
    /// # Errors
    /// When no round was finished.
    pub fn finish(self) -> Result<(StaticPatterns, Vec<HeadReport>), Error> {
        let heads = self.heads.into_inner().expect("no planner panicked");
        let mut layers: Vec<Vec<StaticPattern>> = Vec::new();
        let mut reports = Vec::new();
        for ((layer, head), Head { tried, .. }) in heads {
            let least = |value: fn(&Tried) -> f64, within: bool| {
                let fit = (0..tried.len()).filter(|&n| tried[n].within == within);
                fit.min_by(|&a, &b| value(&tried[a]).total_cmp(&value(&tried[b])))
            };
            let chosen = least(|tried| tried.error, true).or_else(|| least(|tried| tried.cost, false));
            let Some(chosen) = chosen else { continue };
            layers.resize_with(layers.len().max(layer + 1), Vec::new);
            layers[layer].push(tried[chosen].pattern);
            reports.push(HeadReport { layer, head, chosen, tried });
        }
        let mut patterns = StaticPatterns::new(layers)?;
        patterns.centres = self.centres;
        Ok((patterns, reports))
    }

    fn cost(&self, plan: &HeadPlan, tiles: Tiles, last_rows: usize) -> f64 {
        let HeadPlan::Sparse(plan) = plan else { return self.prices.dense(tiles) };
        let steps: usize = (0..plan.num_tiles()).map(|tile| plan.blocks(tile).len()).sum();
        let sparse_tiles = tiles.num_tiles() - last_rows.div_ceil(tiles.block_m()).min(tiles.num_tiles());
        let centres = if plan.centres() { tiles.num_blocks() } else { 0 };
        self.prices.sparse(tiles, steps as u64, sparse_tiles, plan.columns().len(), centres)
    }
}

impl Planner for OfflineSearch {
    fn plan(&self, scene: &Scene) -> Result<Planned, Error> {
        scene.check()?;
        let (queries, tiles, num_heads) = (scene.queries, scene.tiles, scene.queries.heads().num_q_heads());
        let range = tiles.range();
        let run = |plan: &Plan| -> Result<Output, Error> {
            let mut output = Output::new(queries.heads(), range.q_len());
            attend(scene.simd, queries, scene.kv, range, plan, &mut output)?;
            Ok(output)
        };
        let dense = run(&Plan::dense(num_heads))?;
        for (n, kind) in KINDS.iter().enumerate() {
            let sizes: Vec<Option<usize>> = {
                let mut heads = self.heads.lock().expect("no planner panicked");
                let new = || Head {
                    walks: KINDS.iter().map(|kind| Walk::new(kind.largest(self.num_blocks))).collect(),
                    tried: Vec::new(),
                };
                let mut walk = |head| heads.entry((scene.layer, head)).or_insert_with(new).walks[n].clone();
                (0..num_heads).map(|head| Some(walk(head)).filter(|walk| !walk.done()).map(|walk| walk.size)).collect()
            };
            if sizes.iter().all(Option::is_none) {
                continue;
            }
            let plans = (sizes.par_iter().enumerate())
                .map(|(head, size)| match size {
                    Some(size) => Ok(kind.with_size(*size).plan(scene, head, self.centres)?.0),
                    None => Ok(HeadPlan::Dense),
                })
                .collect::<Result<Vec<_>, Error>>()?;
            let plan = Plan { heads: plans };
            let output = run(&plan)?;
            let mut heads = self.heads.lock().expect("no planner panicked");
            for head in (0..num_heads).filter(|&head| sizes[head].is_some()) {
                let walk = heads.get_mut(&(scene.layer, head)).map(|head| &mut head.walks[n]);
                let sums = &mut walk.expect("made above").sums;
                sums.cost += self.cost(&plan.heads[head], tiles, scene.last_rows);
                sums.dense_cost += self.prices.dense(tiles);
                sums.pairs += plan.heads[head].pairs(range) as f64;
                sums.causal_pairs += range.causal_pairs() as f64;
                for row in 0..range.q_len() {
                    for (got, want) in output.row(head, row).iter().zip(dense.row(head, row)) {
                        sums.squared_error += (*got as f64 - want as f64).powi(2);
                        sums.squared_output += (want as f64).powi(2);
                    }
                }
            }
        }
        Ok(Planned::dense(num_heads))
    }
}

#[cfg(test)]
mod tests;
