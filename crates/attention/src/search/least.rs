//! The least that a plan of the search can be, and what a budget leaves above it.

use super::{CostModel, Search, Target};
use crate::plan::{HeadPlan, SparsePlan};
use crate::shape::Tiles;
use crate::{BLOCK_N, Error};

/// What one head takes of a chunk, in pairs for a density budget and in block steps for one of cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Least {
    /// The sparsest plan: sink, newest block, diagonal; and centres and last rows, where the search has them.
    pub sparsest: f64,
    /// Every pair.
    pub dense: f64,
}

impl Search {
    /// The least that this search can plan for a head of a chunk, whatever its keys are. Where it plans nothing, that is every
    /// pair.
    ///
    /// # Errors
    /// When the chunk has more blocks than a plan can name.
    pub fn least(&self, tiles: Tiles, last_rows: usize) -> Result<Least, Error> {
        let dense = match self.target {
            Target::Density(_) => tiles.range().causal_pairs() as f64,
            Target::Recall(_) | Target::Cost(_) => self.cost.dense(tiles),
        };
        if self.is_dense(tiles, last_rows) {
            return Ok(Least { sparsest: dense, dense });
        }
        let last_rows = self.rows_that_see_all(last_rows);
        let plan = SparsePlan::from_rule(tiles, last_rows, Vec::new(), self.centres, |_, keep| {
            let newest = keep.len().saturating_sub(1);
            keep.iter_mut().enumerate().for_each(|(block, keep)| *keep = block == 0 || block == newest);
        })?;
        let sparsest = match self.target {
            Target::Density(_) => HeadPlan::Sparse(plan).pairs(tiles.range()) as f64,
            Target::Recall(_) | Target::Cost(_) => {
                let sparse_tiles = (0..tiles.num_tiles()).filter(|&t| !tiles.has_last_rows(t, last_rows)).count();
                let centres = if self.centres { tiles.num_blocks() } else { 0 };
                self.cost.sparse(tiles, plan.indices().len() as u64, sparse_tiles, 0, centres)
            }
        };
        Ok(Least { sparsest, dense })
    }

    /// Whether no plan of these tiles has less than all pairs: nothing lies between sink and newest block.
    pub(super) fn has_nothing_to_drop(tiles: Tiles, last_rows: usize) -> bool {
        (0..tiles.num_tiles()).all(|tile| tiles.has_last_rows(tile, last_rows) || tiles.full_blocks(tile) <= 2)
    }
}

/// A density budget in block steps, as candidates are counted.
///
/// Steps count whole blocks; of those that the diagonal cuts only some pairs are there. Every plan has them, so what they count
/// too much is no plan's expense.
pub(super) fn steps_of_density(share: f64, tiles: Tiles) -> f64 {
    let pairs_of_step = (tiles.block_m() * BLOCK_N) as f64;
    let uncounted: f64 = (0..tiles.num_tiles())
        .map(|tile| {
            let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
            let keys: usize = tiles.positions(tile).map(|row| row + 1 - full * BLOCK_N).sum();
            (causal - full) as f64 - keys as f64 / pairs_of_step
        })
        .sum();
    let dense = tiles.range().causal_pairs() as f64 / pairs_of_step;
    (share * dense + uncounted).min(CostModel::pairs().dense(tiles))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::QueryRange;

    fn tiles(q: usize, kv: usize, block_m: usize) -> Tiles {
        QueryRange::new(q, kv).unwrap().tiles(block_m).unwrap()
    }

    #[test]
    fn where_nothing_lies_between_sink_and_newest_block_all_pairs_are_the_least() {
        let search = Search::new(Target::Density(0.1)).unwrap();
        for (q, kv) in [(1, 1), (63, 63), (192, 192), (64, 191)] {
            let least = search.least(tiles(q, kv, 64), 0).unwrap();
            assert_eq!(least.sparsest, least.dense, "{q} {kv}");
        }
        let least = search.least(tiles(1024, 4096, 64), 2000).unwrap();
        assert_eq!(least.sparsest, least.dense, "all rows are among the last");
        let search = Search { last_rows: false, ..search };
        let least = search.least(tiles(1024, 4096, 64), 2000).unwrap();
        assert!(least.sparsest < 0.1 * least.dense, "{least:?}");
    }

    #[test]
    fn the_least_is_what_its_plan_counts() {
        let search = Search::new(Target::Density(0.1)).unwrap();
        // One tile of 64 queries behind 960 keys: sink, newest block, its own diagonal; and 13 centres.
        let least = search.least(tiles(64, 1024, 64), 0).unwrap();
        let diagonal = 64.0 * 65.0 / 2.0;
        assert_eq!(least.sparsest, 64.0 * 128.0 + diagonal + 64.0 * 13.0);
        let without = Search { centres: false, ..search }.least(tiles(64, 1024, 64), 0).unwrap();
        assert_eq!(without.sparsest, 64.0 * 128.0 + diagonal);
        assert_eq!(least.dense, 64.0 * 960.0 + diagonal);
    }

    #[test]
    fn a_density_of_one_is_every_step_and_a_lower_one_no_more_than_its_pairs() {
        for (q, kv, block_m) in [(1000, 1000, 64), (640, 5000, 128), (7, 70, 64), (512, 512, 256)] {
            let tiles = tiles(q, kv, block_m);
            let dense = CostModel::pairs().dense(tiles);
            assert!(steps_of_density(1.0, tiles) <= dense);
            assert!(steps_of_density(0.5, tiles) >= 0.5 * tiles.range().causal_pairs() as f64 / (block_m * 64) as f64);
        }
    }
}
