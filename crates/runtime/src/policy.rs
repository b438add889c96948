//! What the attention layers of a prefill compute, as data that any device executes; and what they did.

use attention::Error;
use attention::pattern::HeadPattern;
use attention::plan::{HeadPlan, Plan};
use attention::planner::{HeadChoice, Planned, Planner, Scene};
use attention::search::Search;
use attention::shape::{QueryRange, Tiles};
use attention::static_patterns::StaticPatterns;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What every attention layer of a prefill computes. Layers with a sliding window shorter than the keys compute all pairs
/// inside it, whatever the policy.
#[derive(Clone, Copy, Default)]
pub enum AttentionPolicy<'a> {
    /// Every causal pair.
    #[default]
    Dense,
    /// What the online search finds, on the device: the pattern of each head of each chunk.
    Search(&'a Search),
    /// Patterns decided before, one for each head of each layer.
    Fixed(&'a StaticPatterns),
    /// Plans made before, of the same prompt lengths in the same chunks: to replay what another device or another day found.
    Given(&'a GivenPlans),
    /// What a planner of one's own says, which looks at queries and keys on the host: for experiments. A GPU hands it copies
    /// and waits for it.
    Planner(&'a dyn Planner),
}

impl<'a> AttentionPolicy<'a> {
    /// The one that decides on the host; nothing where all pairs are computed.
    pub fn planner(self) -> Option<&'a dyn Planner> {
        match self {
            AttentionPolicy::Dense => None,
            AttentionPolicy::Search(search) => Some(search),
            AttentionPolicy::Fixed(patterns) => Some(patterns),
            AttentionPolicy::Given(plans) => Some(plans),
            AttentionPolicy::Planner(planner) => Some(planner),
        }
    }
}

impl<'a> From<Option<&'a Search>> for AttentionPolicy<'a> {
    fn from(search: Option<&'a Search>) -> Self {
        search.map_or(AttentionPolicy::Dense, AttentionPolicy::Search)
    }
}

/// Plans of layers and chunks, as an [`Observer`] heard them or as [`attention::plan::file`] reads them.
///
/// A CPU executes plans of tiles of any height, a GPU those of its own kernel.
#[derive(Clone, Debug, Default)]
pub struct GivenPlans {
    /// By layer, and by queries and keys of the chunk.
    plans: HashMap<(usize, usize, usize), Plan>,
}

impl GivenPlans {
    /// Keeps the plan of a layer for the queries of `range`, in place of an earlier one.
    pub fn insert(&mut self, layer: usize, range: QueryRange, plan: Plan) {
        self.plans.insert((layer, range.q_len(), range.kv_len()), plan);
    }

    /// The plan of a layer for the queries of `range`; nothing is known of its recall.
    ///
    /// # Errors
    /// When there is none.
    pub fn planned(&self, layer: usize, range: QueryRange) -> Result<Planned, Error> {
        let (q_len, kv_len) = (range.q_len(), range.kv_len());
        let plan = self.plans.get(&(layer, q_len, kv_len)).ok_or_else(|| {
            let expected = format!("one for layer {layer} and the last {q_len} of {kv_len} positions");
            Error::Plan(format!(
                "expected {expected}, there are {} others: use the same prompt length and chunks",
                self.plans.len()
            ))
        })?;
        let choice = |head: &HeadPlan| match head {
            HeadPlan::Dense => HeadChoice::dense(f64::NAN),
            _ => HeadChoice::new(HeadPattern::Given, f64::NAN, f64::NAN),
        };
        Ok(Planned { plan: plan.clone(), choices: plan.heads.iter().map(choice).collect() })
    }
}

impl Planner for GivenPlans {
    fn plan(&self, scene: &Scene) -> Result<Planned, Error> {
        self.planned(scene.layer, scene.range())
    }
}

/// What one attention layer of one chunk did. Made only for an [`Observer`]: a GPU that searches has to wait for it.
pub struct LayerReport {
    /// Index of the layer.
    pub layer: usize,
    /// The chunk's queries, in the tiles of the plan.
    pub tiles: Tiles,
    /// The plan, and why it is this one.
    pub planned: Planned,
    /// Finding the plan, wall time; on a GPU telling the host of it included.
    pub search_ms: f64,
}

/// Hears what every attention layer did, layer by layer, chunk by chunk, of whatever policy.
pub type Observer<'a> = &'a (dyn Fn(LayerReport) + Sync);

/// Hears how many layers are done with the chunk under way: 0 when it begins, and after every layer, whether a device has done it
/// or is only asked for it. Says whether the chunk goes on: one that does not, before its last layer, is as if it had not begun.
pub type Progress<'a> = &'a (dyn Fn(usize) -> ControlFlow<()> + Sync);

/// Called within a layer, between stretches of its work, while it holds nothing that others need: they may have a step then. Says whether
/// any would: where none would, work is not cut into stretches. For devices that do what they are asked at once.
pub type Pause<'a> = &'a (dyn Fn() -> bool + Sync);

/// A policy, who hears what came of it, and whether rows are drawn that say what it kept.
#[derive(Clone, Copy, Default)]
pub struct PrefillAttention<'a> {
    /// What is computed.
    pub policy: AttentionPolicy<'a>,
    /// Who hears of it.
    pub observer: Option<Observer<'a>>,
    /// Seed of the rows; see [`Request::receipt`](crate::request::Request::receipt).
    pub receipt: Option<u64>,
    /// Who hears how far a chunk is, beside [`Event::Layer`](crate::request::Event::Layer).
    pub progress: Option<Progress<'a>>,
    /// Who may have a step within a layer.
    pub pause: Option<Pause<'a>>,
}

impl<'a> From<AttentionPolicy<'a>> for PrefillAttention<'a> {
    fn from(policy: AttentionPolicy<'a>) -> Self {
        Self { policy, ..Self::default() }
    }
}

impl PrefillAttention<'_> {
    pub(crate) fn tell_progress(&self, done_layers: usize) -> ControlFlow<()> {
        self.progress.map_or(ControlFlow::Continue(()), |progress| progress(done_layers))
    }

    /// Lets others have a step, and says whether they would have another.
    pub(crate) fn pause(&self) -> bool {
        self.pause.is_some_and(|pause| pause())
    }

    /// Tells the observer, if there is one.
    pub(crate) fn report(&self, report: impl FnOnce() -> LayerReport) {
        if let Some(observer) = self.observer {
            observer(report());
        }
    }
}
