//! Who decides what a layer computes.

use crate::Error;
use crate::kv::KvView;
use crate::pattern::HeadPattern;
use crate::plan::{HeadPlan, Plan};
use crate::queries::Queries;
use crate::shape::{QueryRange, Tiles};
use crate::simd::Simd;
use serde::Serialize;

/// One attention layer of one chunk: all that a planner may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Instruction set.
    pub simd: Simd,
    /// Index of the layer.
    pub layer: usize,
    /// Queries of the chunk.
    pub queries: &'a Queries,
    /// All keys and values so far, the chunk's own included.
    pub kv: &'a KvView<'a>,
    /// Where the queries stand, and in which tiles the device computes them.
    pub tiles: Tiles,
    /// Final positions whose queries must see every key.
    pub last_rows: usize,
}

impl Scene<'_> {
    /// Where the queries stand.
    pub fn range(&self) -> QueryRange {
        self.tiles.range()
    }

    /// # Errors
    /// When queries, keys and range do not belong together. A planner that has checked may index as it likes.
    pub fn check(&self) -> Result<(), Error> {
        if self.kv.heads() != self.queries.heads() {
            return Err(Error::Plan("queries and keys have different heads".into()));
        }
        Error::check_len("queries", self.range().q_len(), self.queries.len())?;
        Error::check_len("keys", self.range().kv_len(), self.kv.kv_len())
    }
}

/// Chooses what each layer of each chunk computes: the online [`Search`](crate::search::Search), patterns from a file, or
/// an experiment.
pub trait Planner: Sync {
    /// The plan of every query head.
    ///
    /// # Errors
    /// When the operands of the scene do not belong together.
    fn plan(&self, scene: &Scene) -> Result<Planned, Error>;

    /// The share of its attention mass that a head may drop, proven; heads above it are computed densely
    /// ([`bound`](crate::bound)). `None` proves nothing and costs nothing.
    fn guarantee(&self) -> Option<f32> {
        None
    }
}

/// A plan, and why it is this one.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What to compute.
    pub plan: Plan,
    /// One for each query head.
    pub choices: Vec<HeadChoice>,
}

impl Planned {
    /// Every pair of every head.
    pub fn dense(num_q_heads: usize) -> Self {
        let choice = HeadChoice { considered: Vec::new(), ..HeadChoice::dense(f64::NAN) };
        Self { plan: Plan::dense(num_q_heads), choices: vec![choice; num_q_heads] }
    }

    /// All that a layer with a sliding window may see.
    pub fn window(num_q_heads: usize, window: usize) -> Self {
        Self { plan: Plan { heads: vec![HeadPlan::Window(window); num_q_heads] }, ..Self::dense(num_q_heads) }
    }

    /// Attention mass that the plan is estimated to keep, mean over heads. Centres count nothing.
    pub fn recall(&self) -> f64 {
        self.choices.iter().map(|choice| choice.recall).sum::<f64>() / self.choices.len().max(1) as f64
    }
}

/// The pattern a head got, and what it was chosen from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadChoice {
    /// The pattern.
    #[serde(flatten)]
    pub pattern: HeadPattern,
    /// Attention mass kept, estimated on probe rows of which a quarter proposed columns and slashes; 1 when dense, not a number
    /// where nothing was estimated.
    pub recall: f64,
    /// Predicted cost in block steps ([`CostModel`](crate::search::CostModel)); not a number where nothing was predicted.
    pub cost: f64,
    /// All candidates that met the target, the chosen one included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<HeadChoice>,
}

impl HeadChoice {
    /// A choice with nothing beside it.
    pub fn new(pattern: HeadPattern, recall: f64, cost: f64) -> Self {
        Self { pattern, recall, cost, considered: Vec::new() }
    }

    /// Every pair.
    pub fn dense(cost: f64) -> Self {
        Self::new(HeadPattern::Dense, 1.0, cost)
    }
}
