//! Finds, at run time, the cheapest plan of each head that keeps the attention mass.
//!
//! For every head of a chunk:
//!
//! 1. *score* each (q tile, block) by a [`Selector`]: about 1/64 of dense attention for row peaks;
//! 2. *probe*: the exact softmax of a few rows spread over the chunk (`probe`). A quarter of them propose columns and
//!    slashes, all judge;
//! 3. *candidates*: up to three families give every (tile, block) a level, and a candidate is a family, a cut through its levels,
//!    in each part of the chunk where it needs to be ([`Parts`]), and a number of columns;
//! 4. the candidate cheapest by [`CostModel`] whose recall on the probes meets the target wins, if no part of the chunk loses
//!    much more ([`Search::share_of_part`]); dense if none is cheaper than dense.
//!
//! # Chunks
//!
//! Levels of blocks depend on a tile's queries and the keys before it only, so they are the same however a prompt is cut
//! and whatever of it was cached (tested, for every selector). What the search makes of them is not: the cut through the
//! levels, columns and slashes are chosen once a chunk, by probe rows of that chunk. Other chunks give other plans of the
//! same recall.

mod calibrate;
mod candidates;
mod cost;
mod cut;
mod fixed;
mod least;
mod parts;
pub(crate) mod probe;
mod stages;

use crate::pattern::{BlockLevels, HeadPattern, IntervalSlash, Selector};
use crate::plan::{HeadPlan, Plan, SparsePlan};
use crate::planner::{HeadChoice, Planned, Planner, Scene};
use crate::shape::Tiles;
use crate::{BLOCK_N, Error};
use candidates::{Candidate, Candidates, Family};
use probe::Probes;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use stages::Stopwatch;

pub use calibrate::calibrate;
pub use cost::CostModel;
pub(crate) use fixed::fixed_block_cluster;
pub use least::Least;
pub use parts::{JUDGES_OF_PART, Parts};
pub use probe::probe_rows;
pub use stages::StageTimes;

/// What the search aims at, for every head of every chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The cheapest plan that keeps this share of the attention mass, on average over the queries, and of every part of them nearly
    /// as much ([`Search::share_of_part`]).
    Recall(f32),
    /// The plan that keeps most among those that compute at most this share of all pairs; where none does, the sparsest
    /// ([`Search::least`]). Columns and centres count in whole groups of 64, so the density that is counted afterwards is below.
    Density(f32),
    /// The plan that keeps most among those that cost at most this share of dense attention; where none does, the sparsest.
    Cost(f32),
}

/// Where candidates come from. Each has columns beside its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternFamily {
    /// Blocks by score ([`BlockCluster`](crate::pattern::BlockCluster)).
    BlockCluster,
    /// Block diagonals by the attention that probes give them ([`IntervalSlash`]).
    IntervalSlash,
    /// Sink and windows of 64, 128, 256, ... keys ([`Triangular`](crate::pattern::Triangular)).
    Triangular,
}

/// The online search: gives every head of every chunk its own pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    target: Target,
    /// Score and rule of block clusters.
    pub selector: Selector,
    /// Families to consider.
    pub families: Vec<PatternFamily>,
    /// Numbers of columns to consider, ascending. A group of 64 costs every tile about one step.
    pub column_counts: Vec<usize>,
    /// Whether left-out blocks are represented by their centres. They cost one key a block and are not counted as
    /// recalled, but about halve the output error that remains.
    pub centres: bool,
    /// Whether the last rows of a prompt see every key. They have most to do with its answer, and no plan of a short prompt is
    /// sparse with them.
    pub last_rows: bool,
    /// Whether a budget is spent on whole levels of blocks only, as GPUs do, and not to the last block.
    pub whole_levels: bool,
    /// See [`Planner::guarantee`].
    pub guarantee: Option<f32>,
    /// What things cost on this device.
    pub cost: CostModel,
}

impl Search {
    /// Searches for `target`.
    ///
    /// # Errors
    /// Unless the share is above 0 and at most 1.
    pub fn new(target: Target) -> Result<Self, Error> {
        Self::check_target(target)?;
        Ok(Self {
            target,
            selector: Selector::default(),
            families: vec![PatternFamily::BlockCluster, PatternFamily::IntervalSlash, PatternFamily::Triangular],
            column_counts: vec![0, 64, 256, 1024],
            centres: true,
            last_rows: true,
            whole_levels: false,
            guarantee: None,
            cost: CostModel::default(),
        })
    }

    /// The same search for another target.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_target(self, target: Target) -> Result<Self, Error> {
        Self::check_target(target)?;
        Ok(Self { target, ..self })
    }

    fn check_target(target: Target) -> Result<(), Error> {
        let (what, share) = match target {
            Target::Recall(share) => ("recall", share),
            Target::Density(share) => ("density budget", share),
            Target::Cost(share) => ("cost budget", share),
        };
        match share > 0.0 && share <= 1.0 {
            true => Ok(()),
            false => Err(Error::Parameter { what, expected: "above 0, at most 1", found: share.to_string() }),
        }
    }

    /// The budget of a density target in the block steps that plans of these tiles are counted in.
    pub fn density_steps(share: f32, tiles: Tiles) -> f64 {
        least::steps_of_density(share as f64, tiles)
    }

    /// The share that probe rows must find kept, in the mean, for a plan to keep `share`: of several candidates the cheapest is one
    /// that these rows happened to like, so they say up to a tenth less than what is lost (`docs/selectors.md`).
    pub fn share_of_probes(share: f32) -> f64 {
        const FLATTERY: f64 = 0.1;
        1.0 - (1.0 - FLATTERY) * (1.0 - share as f64)
    }

    /// The share of its attention that every part of a chunk keeps at the least, where all together keep `share`: [`JUDGES_OF_PART`]
    /// probe rows judge a part. A mean alone lets the queries of a quotation lose what they quote, if the chunk is long.
    pub fn share_of_part(share: f32) -> f64 {
        const LOSS: f64 = 1.5;
        1.0 - LOSS * (1.0 - share as f64)
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// As [`plan`](Planner::plan), and what each stage took, all heads together; nothing where the answer was dense at once.
    ///
    /// # Errors
    /// As there.
    pub fn plan_timed(&self, scene: &Scene) -> Result<(Planned, StageTimes), Error> {
        scene.check()?;
        let scene = &Scene { last_rows: self.rows_that_see_all(scene.last_rows), ..*scene };
        let heads = scene.queries.heads();
        if self.is_dense(scene.tiles, scene.last_rows) {
            return Ok((Planned::dense(heads.num_q_heads()), StageTimes::default()));
        }
        let found = (0..heads.num_q_heads())
            .into_par_iter()
            .with_max_len(1)
            .map(|head| HeadSearch { search: self, scene, head }.run())
            .collect::<Result<Vec<_>, Error>>()?;
        let times = found.iter().map(|(.., times)| *times).sum();
        let (plans, choices) = found.into_iter().map(|(plan, choice, _)| (plan, choice)).unzip();
        Ok((Planned { plan: Plan { heads: plans }, choices }, times))
    }

    /// How many of a chunk's last rows see every key, of those that may.
    pub fn rows_that_see_all(&self, last_rows: usize) -> usize {
        if self.last_rows { last_rows } else { 0 }
    }

    /// Whether every head computes every pair without a look at any key: no plan could earn back the search, or there is
    /// nothing to drop. A budget of pairs is kept even where the search takes longer than what it saves.
    pub fn is_dense(&self, tiles: Tiles, last_rows: usize) -> bool {
        let last_rows = self.rows_that_see_all(last_rows);
        let (share, far_share) = match self.target {
            Target::Density(share) => return share >= 1.0 || Self::has_nothing_to_drop(tiles, last_rows),
            Target::Recall(share) => (share, self.cost.expected_far_share(share)),
            Target::Cost(share) => (share, self.cost.far_share.min(share as f64)),
        };
        share >= 1.0 || !self.cost.search_can_pay(tiles, last_rows, far_share)
    }
}

impl Planner for Search {
    /// Returns dense at once where the cost model says that no plan could earn back the search.
    fn plan(&self, scene: &Scene) -> Result<Planned, Error> {
        Ok(self.plan_timed(scene)?.0)
    }

    fn guarantee(&self) -> Option<f32> {
        self.guarantee
    }
}

/// The search of one head.
struct HeadSearch<'a> {
    search: &'a Search,
    scene: &'a Scene<'a>,
    head: usize,
}

impl HeadSearch<'_> {
    fn run(&self) -> Result<(HeadPlan, HeadChoice, StageTimes), Error> {
        let Scene { simd, queries, kv, tiles, last_rows, .. } = *self.scene;
        let selector = self.search.selector;
        // A head's search takes many times as long as reading the clock at every stage.
        let (mut times, mut watch) = (StageTimes::default(), Stopwatch::start());
        let levels = match self.search.families.contains(&PatternFamily::BlockCluster) {
            true => Some(BlockLevels::measure(simd, selector, queries, self.head, kv, tiles)?),
            false => None,
        };
        times.scores = watch.lap();
        let (plan, choice) = Probes::measure(simd, queries, kv, tiles, self.head, |probes| {
            times.probes = watch.lap();
            let candidates = Candidates::evaluate(simd, self.search, tiles, last_rows, levels.as_ref(), probes);
            times.candidates = watch.lap();
            self.choose(candidates)
        })?;
        times.lowering = watch.lap();
        Ok((plan, choice, times))
    }

    fn choose(&self, candidates: Candidates) -> Result<(HeadPlan, HeadChoice), Error> {
        let dense = self.search.cost.dense(self.scene.tiles);
        let found = candidates.found.iter().cloned();
        let best = match self.search.target {
            Target::Recall(_) => {
                let cheapest = found.min_by(|a, b| a.cost.total_cmp(&b.cost));
                cheapest.filter(|best| best.cost < self.search.cost.margin * dense)
            }
            // Of equal recall the first, which has the fewest columns.
            Target::Density(_) | Target::Cost(_) => found.rev().max_by(|a, b| a.cut.recall.total_cmp(&b.cut.recall)),
        };
        let considered = candidates
            .found
            .iter()
            .map(|candidate| {
                HeadChoice::new(self.pattern(&candidates, candidate), candidate.cut.recall, candidate.cost)
            })
            .collect();
        Ok(match best {
            None => (HeadPlan::Dense, HeadChoice { considered, ..HeadChoice::dense(dense) }),
            Some(best) => {
                let (plan, best) = self.lower_within(&candidates, best)?;
                let choice = HeadChoice::new(self.pattern(&candidates, &best), best.cut.recall, best.cost);
                (plan, HeadChoice { considered, ..choice })
            }
        })
    }

    /// A candidate as a plan. Columns that blocks have too, or that tiles have not reached, were counted and are no pairs: a
    /// budget of pairs goes to further blocks instead.
    fn lower_within(&self, candidates: &Candidates, mut best: Candidate) -> Result<(HeadPlan, Candidate), Error> {
        const ROUNDS: usize = 4;
        let tiles = self.scene.tiles;
        let mut plan = HeadPlan::Sparse(self.lower(candidates, &best)?);
        if let Target::Density(share) = self.search.target
            && !self.search.whole_levels
        {
            let budget = share as f64 * tiles.range().causal_pairs() as f64;
            for _ in 0..ROUNDS {
                let left = budget - plan.pairs(tiles.range()) as f64;
                let more = candidates.with_more(&best, (left / (tiles.block_m() * BLOCK_N) as f64).floor());
                if more.cut.steps <= best.cut.steps {
                    break;
                }
                // Of the last level other blocks are kept then, which may have fewer columns.
                let larger = HeadPlan::Sparse(self.lower(candidates, &more)?);
                if larger.pairs(tiles.range()) as f64 > budget {
                    break;
                }
                (best, plan) = (more, larger);
            }
        }
        Ok((plan, best))
    }

    fn pattern(&self, candidates: &Candidates, candidate: &Candidate) -> HeadPattern {
        let columns = candidate.columns;
        match &candidates.families[candidate.family] {
            Family::BlockCluster(_) => {
                HeadPattern::BlockCluster { threshold: BlockLevels::threshold(candidate.cut.max_level()), columns }
            }
            Family::Slash { level_of_distance } => {
                HeadPattern::IntervalSlash { intervals: slashes(level_of_distance, candidate).len(), columns }
            }
            Family::Window { .. } => HeadPattern::Triangular { window: BLOCK_N << candidate.cut.max_level(), columns },
        }
    }

    fn lower(&self, candidates: &Candidates, candidate: &Candidate) -> Result<SparsePlan, Error> {
        let (tiles, last_rows, centres) = (self.scene.tiles, self.scene.last_rows, self.search.centres);
        let (family, cut) = (&candidates.families[candidate.family], &candidate.cut);
        let parts = Parts::of(tiles);
        let mut is_one_more = cut.spread();
        SparsePlan::from_rule(tiles, last_rows, candidates.columns_of(candidate), centres, |tile, keep| {
            let newest = keep.len().saturating_sub(1);
            let up_to = cut.levels[parts.of_tile(tile)];
            for (block, keep) in keep.iter_mut().enumerate() {
                let level = family.level(tiles, tile, block);
                *keep = block == 0 || block == newest || level <= up_to || level == up_to + 1 && is_one_more();
            }
        })
    }
}

fn slashes(level_of_distance: &[u8], candidate: &Candidate) -> Vec<std::ops::Range<usize>> {
    let kept = (0..level_of_distance.len()).filter(|&d| level_of_distance[d] <= candidate.cut.max_level());
    IntervalSlash::intervals_of_distances(kept)
}

#[cfg(test)]
mod tests;
