//! What heads attend to, and what their plans keep of it, as pictures.
//!
//! While a prompt goes through the model under the online search, the exact attention of chosen heads is computed once
//! more, from the very queries and keys that the search sees, and pooled on the way ([`PooledMap`]): no row of the
//! `kv_len x kv_len` matrix outlives its sixteen neighbours. The plan is laid over it, and the recall that the search
//! estimated stands beside the recall of every row. All that happens on the host, also where the model runs on a GPU, by
//! the CPU's search at the GPU's costs.

mod page;
mod pooled;

use crate::EvalError;
use attention::pattern::HeadPattern;
use attention::planner::{Planned, Planner, Scene};
use attention::search::Search;
use runtime::engine::Engine;
use runtime::policy::AttentionPolicy;
use runtime::request::{Goal, RunStats};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;

pub use page::{Source, page};
pub use pooled::{Mark, PooledMap};

/// How the attention of many (query, key) pairs becomes that of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The largest: single keys that matter stay visible.
    #[default]
    Max,
    /// The mean over causal pairs.
    Mean,
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// Layers.
    pub layers: Vec<usize>,
    /// Query heads of each.
    pub heads: Vec<usize>,
    /// What the search aims at.
    pub goal: Goal,
    /// How pairs become cells.
    pub pool: Pool,
}

/// One head of one layer over the whole prompt.
#[derive(Clone, Debug, Serialize)]
pub struct HeadView {
    /// Layer.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// Pattern, that of the last chunk.
    #[serde(flatten)]
    pub pattern: HeadPattern,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Attention mass kept, as the search estimated it, mean over all queries.
    pub estimated_recall: f64,
    /// Attention mass kept, exact mean over all queries; centres count nothing.
    pub exact_recall: f64,
    /// A twentieth of the queries keep less than this.
    pub exact_recall_p5: f64,
    /// What is drawn.
    #[serde(skip)]
    pub map: PooledMap,
}

impl Inspect {
    /// Takes the prompt through the model and looks; `done` hears how many queries of one head
    /// are drawn, again and again, of `ids x layers x heads`.
    ///
    /// # Errors
    /// When there is nothing to look at, the model has no such layer or head, or the engine refuses.
    pub fn run(
        &self,
        engine: &mut Engine,
        ids: &[u32],
        done: &(dyn Fn(usize) + Sync),
    ) -> Result<(Vec<HeadView>, RunStats), EvalError> {
        let config = engine.config();
        for (what, wanted, count) in
            [("layer", &self.layers, config.num_layers), ("head", &self.heads, config.num_q_heads)]
        {
            if let Some(&index) = wanted.iter().find(|index| **index >= count) {
                return Err(EvalError::NotThere { what, index, count });
            }
        }
        if self.layers.is_empty() || self.heads.is_empty() {
            return Err(EvalError::Nothing("the list of layers or heads"));
        }
        let search = engine.search_for(self.goal, ids.len())?;
        let onlooker = Onlooker { search, wanted: self, len: ids.len(), done, views: Mutex::default() };
        let stats = engine.prefill_with(ids, AttentionPolicy::Planner(&onlooker))?;
        let views = onlooker.views.into_inner().expect("nobody panicked");
        if let Some(&layer) = self.layers.iter().find(|layer| !views.contains_key(&(**layer, self.heads[0]))) {
            return Err(EvalError::NotPlanned { layer });
        }
        let views = views.into_values();
        Ok((views.map(View::finish).collect(), stats))
    }
}

/// Searches, and looks at what it found.
struct Onlooker<'a> {
    search: Search,
    wanted: &'a Inspect,
    /// Tokens of the whole prompt.
    len: usize,
    done: &'a (dyn Fn(usize) + Sync),
    views: Mutex<BTreeMap<(usize, usize), View>>,
}

/// A head, chunk after chunk.
struct View {
    view: HeadView,
    computed_pairs: u64,
    causal_pairs: u64,
    recall_of_rows: Vec<f32>,
}

impl Planner for Onlooker<'_> {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let planned = self.search.plan(scene)?;
        if self.wanted.layers.contains(&scene.layer) {
            for &head in &self.wanted.heads {
                let mut views = self.views.lock().expect("nobody panicked");
                let view = views.entry((scene.layer, head)).or_insert_with(|| View::new(self, scene.layer, head));
                view.look(scene, &planned);
                (self.done)(scene.range().q_len());
            }
        }
        Ok(planned)
    }
}

impl View {
    fn new(onlooker: &Onlooker, layer: usize, head: usize) -> Self {
        let view = HeadView {
            layer,
            head,
            pattern: HeadPattern::Dense,
            density: 1.0,
            estimated_recall: 0.0,
            exact_recall: 1.0,
            exact_recall_p5: 1.0,
            map: PooledMap::new(onlooker.len, onlooker.wanted.pool),
        };
        Self { view, computed_pairs: 0, causal_pairs: 0, recall_of_rows: Vec::new() }
    }

    fn look(&mut self, scene: &Scene, planned: &Planned) {
        let plan = &planned.plan.heads[self.view.head];
        self.computed_pairs += plan.pairs(scene.range());
        self.causal_pairs += scene.range().causal_pairs();
        self.recall_of_rows.extend(self.view.map.add(scene, self.view.head, plan));
        let choice = &planned.choices[self.view.head];
        self.view.estimated_recall += choice.recall * scene.range().q_len() as f64;
        self.view.pattern = choice.pattern.clone();
    }

    fn finish(mut self) -> HeadView {
        let mut rows: Vec<f64> = self.recall_of_rows.into_iter().map(f64::from).collect();
        rows.sort_by(f64::total_cmp);
        self.view.estimated_recall /= rows.len() as f64;
        self.view.exact_recall = crate::statistics::mean(rows.iter().copied());
        self.view.exact_recall_p5 = rows.get(rows.len() / 20).copied().unwrap_or(1.0);
        self.view.density = self.computed_pairs as f64 / self.causal_pairs as f64;
        self.view
    }
}
