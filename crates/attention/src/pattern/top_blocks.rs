//! A fixed number of blocks for each tile, by pooled score (MInference's block-sparse pattern, arXiv 2407.02490).

use super::largest::largest;
use crate::Error;
use crate::kv::KvView;
use crate::plan::SparsePlan;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::LANES;

/// Keeps, of the blocks that every row of a tile sees whole, the `blocks` with the highest `mean(q) . mean(k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopBlocks {
    /// Blocks for each tile; those that every pattern keeps are kept even where they are not among them.
    pub blocks: usize,
}

impl TopBlocks {
    /// Scores and lowers one head. The operands belong together ([`Scene::check`](crate::planner::Scene::check)).
    ///
    /// # Errors
    /// When the plan has more than 2^32 blocks.
    pub fn plan(
        &self,
        queries: &Queries,
        kv: &KvView,
        tiles: Tiles,
        head: usize,
        last_rows: usize,
        centres: bool,
    ) -> Result<SparsePlan, Error> {
        let kv_head = kv.heads().kv_head(head);
        SparsePlan::from_rule(tiles, last_rows, Vec::new(), centres, |tile, keep| {
            let q = mean_query(queries, tiles, head, tile);
            let score = |block| q.iter().zip(kv.key_mean(block, kv_head)).map(|(q, k)| q * k).sum::<f32>();
            let scores: Vec<f32> = (0..keep.len()).map(score).collect();
            largest(&scores, self.blocks).into_iter().for_each(|block| keep[block] = true);
            keep.first_mut().into_iter().for_each(|sink| *sink = true);
            keep.last_mut().into_iter().for_each(|newest| *newest = true);
        })
    }
}

/// Mean of the queries of a tile, `[padded_dim]`.
fn mean_query(queries: &Queries, tiles: Tiles, head: usize, tile: usize) -> Vec<f32> {
    let rows = tiles.positions(tile).len();
    let mut mean = vec![0.0; queries.heads().padded_dim()];
    for panel in 0..rows.div_ceil(LANES) {
        // Lanes past the last query may hold anything.
        let filled = (rows - panel * LANES).min(LANES);
        let packed = queries.panels(head, tile * (tiles.block_m() / LANES) + panel, 1);
        for (pair, mean) in packed.chunks_exact(2 * LANES).zip(mean.chunks_exact_mut(2)) {
            for lane in pair.chunks_exact(2).take(filled) {
                mean[0] += lane[0].to_f32();
                mean[1] += lane[1].to_f32();
            }
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= rows as f32);
    mean
}

#[cfg(test)]
mod tests;
