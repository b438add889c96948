//! What a plan costs. The unit is one (q tile, kv block) step of the kernel, so the model needs only ratios. It is a step of
//! the plan's own tiles: costs of plans with tiles of another height are in another unit.

use crate::shape::Tiles;
use crate::{BLOCK_N, Error};

/// Costs in units of one block step: the queries of one tile, as many as [`Tiles::block_m`], times 64 keys of one head;
/// scores, softmax and output.
///
/// The defaults were measured on the CPU kernels (`docs/kernels.md`), whose tiles have 64 rows; they leave out memory
/// bandwidth, which such tiles keep below arithmetic on the machines we know. [`calibrate`](super::calibrate()) measures them
/// on this machine. On a GPU a step is one of all multiprocessors together.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// Time of a step on one thread while all threads work, or on the whole of a GPU; `None` where nothing was measured on this
    /// device.
    pub step_us: Option<f64>,
    /// A step on 64 gathered keys: as a block, plus the bias.
    pub gathered_step: f64,
    /// Copying one key and value into a gathered group, once a head.
    pub gather_key: f64,
    /// Averaging the keys and values of one block into its centre, once a head.
    pub gather_centre: f64,
    /// Starting and finishing a tile.
    pub tile: f64,
    /// Scoring one (q tile, block).
    pub score_block: f64,
    /// Exact softmax of one panel of 16 probe rows over one block.
    pub probe_block: f64,
    /// Candidates, columns and lowering, for each block of one head.
    pub choose_block: f64,
    /// Starting a search, for each head.
    pub search_head: f64,
    /// Share of the far blocks that a plan for a recall of 0.98 is expected to keep at most, when it is asked whether a
    /// search can pay; see [`expected_far_share`](Self::expected_far_share).
    pub far_share: f64,
    /// A plan must beat dense by this factor, so that what the model leaves out cannot make sparse slower.
    pub margin: f64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            step_us: None,
            gathered_step: 1.05,
            gather_key: 0.06,
            gather_centre: 0.06,
            tile: 0.5,
            score_block: 0.01,
            probe_block: 0.4,
            choose_block: 0.4,
            search_head: 0.0,
            far_share: 0.1,
            margin: 0.9,
        }
    }
}

impl CostModel {
    /// Counts pairs and nothing else, in blocks of 64 keys times the queries of a tile.
    pub fn pairs() -> Self {
        Self {
            step_us: None,
            gathered_step: 1.0,
            gather_key: 0.0,
            gather_centre: 0.0,
            tile: 0.0,
            score_block: 0.0,
            probe_block: 0.0,
            choose_block: 0.0,
            search_head: 0.0,
            far_share: 0.1,
            margin: 1.0,
        }
    }

    /// Time on one thread of what costs `steps`, when a step has been timed.
    pub fn us(&self, steps: f64) -> Option<f64> {
        self.step_us.map(|step_us| steps * step_us)
    }

    /// # Errors
    /// When a term is not a number or beyond what any machine could take.
    pub fn check(&self) -> Result<(), Error> {
        let within = |what, value: f64, range: std::ops::RangeInclusive<f64>| match range.contains(&value) {
            true => Ok(()),
            false => {
                Err(Error::Calibration(format!("{what} is {value}: expected {:e} to {:e}", range.start(), range.end())))
            }
        };
        self.step_us.map_or(Ok(()), |step_us| within("step_us", step_us, 1e-4..=1e6))?;
        within("gathered_step", self.gathered_step, 0.1..=100.0)?;
        // Few heads of a device whose steps are short share the start of a search.
        within("search_head", self.search_head, 0.0..=1e6)?;
        let others = [
            ("gather_key", self.gather_key),
            ("gather_centre", self.gather_centre),
            ("tile", self.tile),
            ("score_block", self.score_block),
            ("probe_block", self.probe_block),
            ("choose_block", self.choose_block),
        ];
        others.into_iter().try_for_each(|(what, value)| within(what, value, 0.0..=1e3))
    }

    /// Executing every causal block of one head.
    pub fn dense(&self, tiles: Tiles) -> f64 {
        let steps: usize = (0..tiles.num_tiles()).map(|tile| tiles.causal_blocks(tile)).sum();
        steps as f64 + self.tile * tiles.num_tiles() as f64
    }

    /// Executing `steps` blocks, and in each of `sparse_tiles` tiles the gathered `columns` and `centres`.
    pub fn sparse(&self, tiles: Tiles, steps: u64, sparse_tiles: usize, columns: usize, centres: usize) -> f64 {
        let groups = columns.div_ceil(BLOCK_N) + centres.div_ceil(BLOCK_N);
        steps as f64
            + self.tile * tiles.num_tiles() as f64
            + self.gathered_step * (sparse_tiles * groups) as f64
            + self.gather_key * columns as f64
            + self.gather_centre * centres as f64
    }

    /// Finding the plan of one head.
    pub fn search(&self, tiles: Tiles) -> f64 {
        let (num_tiles, blocks) = (tiles.num_tiles() as f64, tiles.num_blocks() as f64);
        let probe_panels = super::parts::num_panels(tiles.range()) as f64;
        self.search_head + blocks * (self.score_block * num_tiles + self.probe_block * probe_panels + self.choose_block)
    }

    /// Share of the far blocks that a plan for this recall is expected to keep, columns and centres in their place included:
    /// fitted to where sparse prefill began to pay at recalls of 0.9 and 0.98 (`bench/results/h100/crossover-*.json`).
    pub fn expected_far_share(&self, recall: f32) -> f64 {
        let left_out = |recall: f64| (1.0 - recall).ln();
        (self.far_share * (left_out(recall as f64) / left_out(0.98)).sqrt()).min(1.0)
    }

    /// Whether a plan that keeps `far_share` of the far blocks is cheaper than dense, search included.
    pub fn search_can_pay(&self, tiles: Tiles, last_rows: usize, far_share: f64) -> bool {
        let dense = self.dense(tiles);
        let dense_tiles = last_rows.div_ceil(tiles.block_m()).min(tiles.num_tiles());
        let sparse_tiles = tiles.num_tiles() - dense_tiles;
        // The sink, the newest block that all rows see, and those that the diagonal cuts.
        let near = (2 + tiles.block_m() / BLOCK_N) * sparse_tiles + dense_tiles * tiles.num_blocks();
        let steps = near as f64 + far_share * dense;
        let sparse = self.sparse(tiles, steps as u64, sparse_tiles, 0, tiles.num_blocks());
        sparse + self.search(tiles) < self.margin * dense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_recall_is_expected_to_keep_fewer_blocks() {
        let costs = CostModel { far_share: 0.52, ..CostModel::default() };
        assert!((costs.expected_far_share(0.98) - 0.52).abs() < 1e-6);
        let shares = [0.1, 0.5, 0.9, 0.95, 0.98, 0.999].map(|recall| costs.expected_far_share(recall));
        assert!(shares.is_sorted() && shares[0] > 0.0 && shares[5] < 1.0, "{shares:?}");
        assert_eq!(costs.expected_far_share(1.0), 1.0);
    }
}
