//! Patterns fixed for each layer and head before the prompt is known, as MInference ships them (arXiv 2407.02490).
//!
//! What is fixed is the kind and the sizes. Which columns, slashes and blocks they are is found anew in every chunk.

mod file;
mod minference;

use crate::Error;
use crate::pattern::{BlockLevels, HeadPattern, LastRows, TopBlocks, Triangular};
use crate::plan::{HeadPlan, Plan};
use crate::planner::{HeadChoice, Planned, Planner, Scene};
use crate::search::fixed_block_cluster;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What one head computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "pattern", rename_all = "snake_case", deny_unknown_fields)]
pub enum StaticPattern {
    /// Every pair.
    Dense,
    /// Sink and window: [`Triangular`]. Costs nothing to find.
    Triangular {
        /// First positions kept.
        sink: usize,
        /// Newest positions kept.
        window: usize,
    },
    /// The columns and slashes with most attention of the chunk's last rows: [`LastRows`].
    IntervalSlash {
        /// Columns, the first 30 among them.
        columns: usize,
        /// Offsets, the nearest 100 among them.
        slashes: usize,
    },
    /// Blocks by the score of the online search, and single columns: [`BlockCluster`](crate::pattern::BlockCluster).
    BlockCluster {
        /// Keeps a block to which some row gives at least [`BlockLevels::threshold`] of its attention.
        level: u8,
        /// Columns with most attention of probe rows.
        columns: usize,
    },
    /// The best blocks of each tile by pooled score: [`TopBlocks`].
    TopBlocks {
        /// Blocks for each tile.
        blocks: usize,
    },
}

/// One [`StaticPattern`] for each head of each layer of a model; a [`Planner`].
///
/// ```
/// use attention::static_patterns::{StaticPattern, StaticPatterns};
///
/// let window = StaticPattern::Triangular { sink: 128, window: 1024 };
/// let patterns = StaticPatterns::new(vec![vec![StaticPattern::Dense; 8], vec![window; 8]])?;
/// assert_eq!(StaticPatterns::from_json(&patterns.to_json())?, patterns);
/// assert!(patterns.check_model(3, 8).is_err());
/// # Ok::<(), attention::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "file::Text", into = "file::Text")]
pub struct StaticPatterns {
    layers: Vec<Vec<StaticPattern>>,
    /// Whether left-out blocks are represented by their centres. Off unless set: the published methods drop them.
    pub centres: bool,
}

impl StaticPatterns {
    /// # Errors
    /// Unless there is a layer, and every layer has as many heads as the first, at least one.
    pub fn new(layers: Vec<Vec<StaticPattern>>) -> Result<Self, Error> {
        let heads = layers.first().map_or(0, Vec::len);
        if heads == 0 {
            return Err(Error::Patterns("expected at least one layer with at least one head, found none".into()));
        }
        if let Some(layer) = layers.iter().position(|layer| layer.len() != heads) {
            return Err(Error::Patterns(format!(
                "layer {layer} has {} heads, layer 0 has {heads}: every layer needs one pattern for each query head",
                layers[layer].len()
            )));
        }
        Ok(Self { layers, centres: false })
    }

    /// The patterns, by layer and head.
    pub fn layers(&self) -> &[Vec<StaticPattern>] {
        &self.layers
    }

    /// To be asked once, when the model is known, rather than in the middle of a prompt.
    ///
    /// # Errors
    /// Unless these are patterns for so many layers and query heads.
    pub fn check_model(&self, num_layers: usize, num_q_heads: usize) -> Result<(), Error> {
        let (layers, heads) = (self.layers.len(), self.layers[0].len());
        if (layers, heads) != (num_layers, num_q_heads) {
            return Err(Error::Patterns(format!(
                "made for {layers} layers of {heads} query heads; the model has {num_layers} of {num_q_heads}: use the \
                 patterns of this model"
            )));
        }
        Ok(())
    }
}

impl Planner for StaticPatterns {
    /// # Errors
    /// When the scene's layer or heads are not those of the patterns, or its operands do not belong together.
    fn plan(&self, scene: &Scene) -> Result<Planned, Error> {
        scene.check()?;
        let num_q_heads = scene.queries.heads().num_q_heads();
        // A planner does not know how many layers the model has, only which one this is.
        self.check_model(self.layers.len().max(scene.layer + 1), num_q_heads)?;
        let (plans, patterns): (Vec<_>, Vec<_>) = (self.layers[scene.layer].par_iter().enumerate())
            .map(|(head, pattern)| pattern.plan(scene, head, self.centres))
            .collect::<Result<Vec<_>, Error>>()?
            .into_iter()
            .unzip();
        // Nothing is estimated: that would cost more than the plan.
        let choice = |pattern| match pattern {
            HeadPattern::Dense => HeadChoice::dense(f64::NAN),
            pattern => HeadChoice::new(pattern, f64::NAN, f64::NAN),
        };
        Ok(Planned { plan: Plan { heads: plans }, choices: patterns.into_iter().map(choice).collect() })
    }
}

impl StaticPattern {
    /// The kind of pattern, as in the file.
    pub fn name(self) -> &'static str {
        match self {
            StaticPattern::Dense => "dense",
            StaticPattern::Triangular { .. } => "triangular",
            StaticPattern::IntervalSlash { .. } => "interval_slash",
            StaticPattern::BlockCluster { .. } => "block_cluster",
            StaticPattern::TopBlocks { .. } => "top_blocks",
        }
    }

    pub(crate) fn plan(self, scene: &Scene, head: usize, centres: bool) -> Result<(HeadPlan, HeadPattern), Error> {
        let Scene { simd, queries, kv, tiles, last_rows, .. } = *scene;
        let (plan, pattern) = match self {
            StaticPattern::Dense => return Ok((HeadPlan::Dense, HeadPattern::Dense)),
            StaticPattern::Triangular { sink, window } => {
                let plan = Triangular { sink, window }.plan(tiles, last_rows, Vec::new(), centres)?;
                (plan, HeadPattern::Triangular { window, columns: 0 })
            }
            StaticPattern::IntervalSlash { columns, slashes } => {
                let found = LastRows::measure(simd, queries, kv, tiles.range(), head).interval_slash(columns, slashes);
                let (intervals, columns) = (found.slash_offsets.len(), found.vertical_indices.len());
                (found.plan(tiles, last_rows, centres)?, HeadPattern::IntervalSlash { intervals, columns })
            }
            StaticPattern::BlockCluster { level, columns } => {
                let plan = fixed_block_cluster(scene, head, level, columns, centres)?;
                let columns = plan.columns().len();
                (plan, HeadPattern::BlockCluster { threshold: BlockLevels::threshold(level), columns })
            }
            StaticPattern::TopBlocks { blocks } => {
                let plan = TopBlocks { blocks }.plan(queries, kv, tiles, head, last_rows, centres)?;
                (plan, HeadPattern::TopBlocks { blocks })
            }
        };
        Ok((HeadPlan::Sparse(plan), pattern))
    }
}

#[cfg(test)]
mod tests;
