//! Finds, at run time, the cheapest plan of each head that keeps the attention mass.
//!
//! For every head of a chunk:
//!
//! 1. *score* each (q tile, block): row-peak levels ([`BlockLevels`]), about 1/64 of dense attention;
//! 2. *probe*: the exact softmax of a few rows spread over the chunk (`probe`). Even probes propose columns and
//!    slashes, odd ones judge;
//! 3. *candidates*: three families give every (tile, block) a level, and a candidate is a family, a cut through its levels
//!    and a number of columns (`candidates`);
//! 4. the candidate cheapest by [`CostModel`] whose recall on the judging probes meets the target wins; dense if none
//!    is cheaper than dense.

mod candidates;
mod cost;
mod probe;

use crate::kv::KvView;
use crate::pattern::{BlockCluster, BlockLevels, HeadPattern, IntervalSlash, Triangular};
use crate::plan::{HeadPlan, Plan};
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::{ROW_TILE, Simd};
use crate::{Aligned, BLOCK_N, Error};
use candidates::{Candidate, Family};
use half::bf16;
use probe::Probes;
use rayon::prelude::*;

pub use cost::CostModel;

/// What the search aims at.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    recall: f32,
    /// Whether left-out blocks are represented by their centres. They cost one key a block and are not counted as
    /// recalled, but about halve the output error that remains.
    pub centres: bool,
    /// What things cost on this device.
    pub cost: CostModel,
}

impl Search {
    /// Keep this share of the attention mass of every head, on average over its queries.
    ///
    /// # Errors
    /// Unless `0 < recall <= 1`.
    pub fn new(recall: f32) -> Result<Self, Error> {
        if !(recall > 0.0 && recall <= 1.0) {
            return Err(Error::Parameter { what: "recall", expected: "above 0, at most 1", found: recall.to_string() });
        }
        Ok(Self { recall, centres: true, cost: CostModel::default() })
    }

    /// The target.
    pub fn recall(&self) -> f32 {
        self.recall
    }
}

/// The plan of a layer, and what the search expects of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What to compute.
    pub plan: Plan,
    /// The pattern of each head.
    pub patterns: Vec<HeadPattern>,
    /// Attention mass kept, mean over the judging probes of all heads; 1 for dense heads. Centres count nothing.
    pub recall: f64,
}

/// Searches a plan for each head.
///
/// Returns dense at once where the cost model says that no plan could earn back the search.
///
/// # Errors
/// When `queries`, `kv` and `range` do not belong together.
pub fn find_plan(
    simd: Simd,
    search: &Search,
    queries: &Queries,
    kv: &KvView,
    range: QueryRange,
    last_rows: usize,
) -> Result<Found, Error> {
    Error::check_len("queries", range.q_len(), queries.len())?;
    Error::check_len("keys", range.kv_len(), kv.kv_len())?;
    let heads = queries.heads();
    if search.recall >= 1.0 || !search.cost.search_can_pay(range, last_rows) {
        let patterns = vec![HeadPattern::Dense; heads.num_q_heads()];
        return Ok(Found { plan: Plan::dense(heads.num_q_heads()), patterns, recall: 1.0 });
    }
    let key_means: Vec<Aligned<bf16>> =
        (0..heads.num_kv_heads()).into_par_iter().map(|kv_head| key_means(kv, kv_head)).collect();
    let found: Vec<HeadResult> = (0..heads.num_q_heads())
        .into_par_iter()
        .map(|head| {
            let key_means = &key_means[heads.kv_head(head)];
            HeadSearch { simd, search, queries, kv, range, last_rows, head }.run(key_means)
        })
        .collect::<Result<_, _>>()?;
    let recall = found.iter().map(|head| head.recall).sum::<f64>() / found.len() as f64;
    let (heads, patterns) = found.into_iter().map(|head| (head.plan, head.pattern)).unzip();
    Ok(Found { plan: Plan { heads }, patterns, recall })
}

/// Mean keys `[num_blocks, padded to 16][padded_dim]`.
fn key_means(kv: &KvView, kv_head: usize) -> Aligned<bf16> {
    let dim = kv.heads().padded_dim();
    let mut means = Aligned::<bf16>::zeroed(kv.num_blocks().next_multiple_of(ROW_TILE) * dim);
    for (block, row) in means.chunks_exact_mut(dim).enumerate().take(kv.num_blocks()) {
        for (out, x) in row.iter_mut().zip(kv.key_mean(block, kv_head)) {
            *out = bf16::from_f32(*x);
        }
    }
    means
}

struct HeadResult {
    plan: HeadPlan,
    pattern: HeadPattern,
    recall: f64,
}

/// The search of one head.
struct HeadSearch<'a> {
    simd: Simd,
    search: &'a Search,
    queries: &'a Queries,
    kv: &'a KvView<'a>,
    range: QueryRange,
    last_rows: usize,
    head: usize,
}

impl HeadSearch<'_> {
    fn run(&self, key_means: &[bf16]) -> Result<HeadResult, Error> {
        let levels = BlockLevels::score(self.simd, self.queries, self.head, key_means, self.range);
        let probes = Probes::measure(self.simd, self.queries, self.kv, self.range, self.head);
        let best = candidates::cheapest(self.simd, self.search, self.range, self.last_rows, &levels, &probes);
        let Some(best) = best else {
            return Ok(HeadResult { plan: HeadPlan::Dense, pattern: HeadPattern::Dense, recall: 1.0 });
        };
        let recall = best.recall;
        let (plan, pattern) = self.lower(best, &levels)?;
        Ok(HeadResult { plan: HeadPlan::Sparse(plan), pattern, recall })
    }

    fn lower(
        &self,
        candidate: Candidate,
        levels: &BlockLevels,
    ) -> Result<(crate::plan::SparsePlan, HeadPattern), Error> {
        let (range, last_rows, centres) = (self.range, self.last_rows, self.search.centres);
        let columns = candidate.columns.len();
        Ok(match candidate.family {
            Family::BlockCluster => {
                let pattern = BlockCluster { levels, max_level: candidate.max_level, columns: candidate.columns };
                let threshold = BlockLevels::threshold(candidate.max_level);
                (pattern.plan(range, last_rows, centres)?, HeadPattern::BlockCluster { threshold, columns })
            }
            Family::Slash { level_of_distance } => {
                let kept = (0..level_of_distance.len()).filter(|&d| level_of_distance[d] <= candidate.max_level);
                let slash_offsets = IntervalSlash::intervals_of_distances(kept);
                let intervals = slash_offsets.len();
                let pattern = IntervalSlash { vertical_indices: candidate.columns, slash_offsets };
                (pattern.plan(range, last_rows, centres)?, HeadPattern::IntervalSlash { intervals, columns })
            }
            Family::Window => {
                let window = BLOCK_N << candidate.max_level;
                let pattern = Triangular { sink: BLOCK_N, window };
                let plan = pattern.plan(range, last_rows, candidate.columns, centres)?;
                (plan, HeadPattern::Triangular { window, columns })
            }
        })
    }
}

#[cfg(test)]
mod tests;
