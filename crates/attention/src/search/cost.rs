//! What a plan costs. The unit is one (q tile, kv block) step of the kernel, so the model needs only ratios.

use crate::shape::QueryRange;
use crate::{BLOCK_M, BLOCK_N, Error};

/// Costs in units of one block step: 64 queries times 64 keys of one head, scores, softmax and output.
///
/// The defaults were measured on the CPU kernels (`docs/kernels.md`); they leave out memory bandwidth, which 64-row
/// tiles keep below arithmetic on the machines we know. [`calibrate`](super::calibrate()) measures them on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// Time of a step on one thread while all threads work; `None` where nothing was measured on this device.
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
            margin: 0.9,
        }
    }
}

impl CostModel {
    /// Counts pairs and nothing else, in blocks of 64 x 64.
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
        self.step_us.map_or(Ok(()), |step_us| within("step_us", step_us, 1e-3..=1e6))?;
        within("gathered_step", self.gathered_step, 0.1..=100.0)?;
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
    pub fn dense(&self, range: QueryRange) -> f64 {
        let steps: usize = (0..range.num_tiles()).map(|tile| range.causal_blocks(tile)).sum();
        steps as f64 + self.tile * range.num_tiles() as f64
    }

    /// Executing `steps` blocks, and in each of `sparse_tiles` tiles the gathered `columns` and `centres`.
    pub fn sparse(&self, range: QueryRange, steps: u64, sparse_tiles: usize, columns: usize, centres: usize) -> f64 {
        let groups = columns.div_ceil(BLOCK_N) + centres.div_ceil(BLOCK_N);
        steps as f64
            + self.tile * range.num_tiles() as f64
            + self.gathered_step * (sparse_tiles * groups) as f64
            + self.gather_key * columns as f64
            + self.gather_centre * centres as f64
    }

    /// Finding the plan of one head.
    pub fn search(&self, range: QueryRange) -> f64 {
        let (tiles, blocks) = (range.num_tiles() as f64, range.num_blocks() as f64);
        let probe_panels = super::probe::num_panels(range) as f64;
        blocks * (self.score_block * tiles + self.probe_block * probe_panels + self.choose_block)
    }

    /// Whether some plan could be cheaper than dense, search included: one that keeps a tenth of the far blocks.
    pub fn search_can_pay(&self, range: QueryRange, last_rows: usize) -> bool {
        let dense = self.dense(range);
        let dense_tiles = last_rows.div_ceil(BLOCK_M).min(range.num_tiles());
        let sparse_tiles = range.num_tiles() - dense_tiles;
        let near = 3 * sparse_tiles + dense_tiles * range.num_blocks();
        let steps = near as f64 + 0.1 * dense;
        let sparse = self.sparse(range, steps as u64, sparse_tiles, 0, range.num_blocks());
        sparse + self.search(range) < self.margin * dense
    }
}
