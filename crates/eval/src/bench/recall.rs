//! Do plans keep what the search says that they keep?
//!
//! A prompt goes through the model under the search. Beside it the plan of every layer is executed on the host once more without
//! its centres, and so is dense attention: of a row, the ratio of the two sums of exponentials is the attention that its plan
//! keeps, exactly. So recall is measured over every query, where the search has seen a few of them.
//! Receipts ([`attention::receipt`]) are held against it.

mod coverage;

use crate::EvalError;
use crate::statistics::{Proportion, Spread, mean};
use attention::attend::{Output, attend};
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::planner::{Planned, Planner, Scene};
use attention::search::Search;
use coverage::Receipts;
use runtime::engine::Engine;
use runtime::policy::AttentionPolicy;
use runtime::request::Goal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;

pub use coverage::Coverage;

/// A head may keep so much less than its goal and still count as having reached it.
pub const TOLERANCE: f64 = 0.01;

/// What to measure.
#[derive(Clone, Debug)]
pub struct RecallCheck {
    /// Name and content of each text; each must hold the longest length.
    pub texts: Vec<(String, String)>,
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Recall goals.
    pub recalls: Vec<f32>,
    /// Every so many layers are looked at.
    pub layer_step: usize,
    /// Times that each prefill is timed, beside the one that is measured.
    pub runs: usize,
    /// Receipts to draw of each prompt.
    pub receipts: usize,
}

/// A head that is sparse in some chunk.
#[derive(Clone, Copy, Debug)]
struct HeadRecall {
    /// Attention kept as the search estimates it, mean over queries.
    estimated: f64,
    /// Attention kept, mean over all queries; centres count nothing.
    exact: f64,
}

/// The heads of a text at a length and a goal.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the text.
    pub text: String,
    /// Prompt length.
    pub length: usize,
    /// Recall aimed at.
    pub goal: f32,
    /// Heads that are sparse.
    pub sparse_heads: usize,
    /// Estimated minus exact recall, mean over sparse heads.
    pub estimated_minus_exact: f64,
    /// Exact recall, mean over sparse heads.
    pub exact: f64,
    /// Share of the sparse heads that keep the goal minus [`TOLERANCE`] or more.
    pub heads_at_goal: f64,
    /// Exact recall of the sparse head that keeps least.
    pub worst: f64,
    /// Computed pairs over causal pairs, dense heads included.
    pub density: f64,
    /// Median time of the prefill; nothing where it was not timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_ms: Option<f64>,
    /// Median time of its search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_ms: Option<f64>,
    /// Receipts against exact recall; nothing where none was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

impl RecallCheck {
    /// Measures every text at every length and goal; `done` hears the number of prefills behind.
    ///
    /// # Errors
    /// When there is nothing to measure, a text is too short, or the engine refuses.
    pub fn run(&self, engine: &mut Engine, done: &mut dyn FnMut(usize)) -> Result<Vec<Row>, EvalError> {
        for (empty, what) in [
            (self.texts.is_empty(), "the list of texts"),
            (self.lengths.is_empty() || self.lengths.contains(&0), "the list of lengths"),
            (self.recalls.is_empty(), "the list of recall goals"),
            (self.layer_step == 0, "the layer step"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        let mut rows = Vec::new();
        for (name, text) in &self.texts {
            let ids = engine.encode(text)?;
            for &length in &self.lengths {
                let Some(prompt) = ids.get(..length) else {
                    return Err(EvalError::TextTooShort { name: name.clone(), length, tokens: ids.len() });
                };
                for &goal in &self.recalls {
                    let search = engine.search_for(Goal::Recall(goal), length)?;
                    let (heads, density, coverage) = self.heads(engine, prompt, &search)?;
                    let (mut prefill_ms, mut search_ms) = (Vec::new(), Vec::new());
                    for _ in 0..self.runs {
                        let stats = engine.prefill_with(prompt, AttentionPolicy::Search(&search))?;
                        prefill_ms.push(stats.prefill_ms);
                        search_ms.push(stats.search_ms);
                    }
                    let median = |times: Vec<f64>| Spread::of(times).map(|times| times.median);
                    rows.push(Row {
                        prefill_ms: median(prefill_ms),
                        search_ms: median(search_ms),
                        coverage,
                        ..Row::new(name, length, goal, density, &heads)
                    });
                    done(rows.len());
                }
            }
        }
        Ok(rows)
    }

    /// The sparse heads of every `layer_step`-th layer of a prompt under a search, the density of all heads, and its receipts.
    fn heads(
        &self,
        engine: &mut Engine,
        prompt: &[u32],
        search: &Search,
    ) -> Result<(Vec<HeadRecall>, f64, Option<Coverage>), EvalError> {
        let onlooker = Onlooker { search, check: self, heads: Mutex::default(), receipts: Mutex::default() };
        let stats = engine.prefill_with(prompt, AttentionPolicy::Planner(&onlooker))?;
        let heads = onlooker.heads.into_inner().expect("nobody panicked");
        let sparse = heads.into_iter().filter(|(_, sums)| sums.is_sparse);
        let found = sparse.map(|(_, sums)| HeadRecall {
            estimated: sums.estimated / sums.queries as f64,
            exact: sums.exact / sums.queries as f64,
        });
        let coverage = onlooker.receipts.into_inner().expect("nobody panicked").coverage();
        Ok((found.collect(), stats.density, coverage))
    }
}

impl Row {
    fn new(text: &str, length: usize, goal: f32, density: f64, heads: &[HeadRecall]) -> Self {
        Self {
            text: text.into(),
            length,
            goal,
            sparse_heads: heads.len(),
            estimated_minus_exact: mean(heads.iter().map(|head| head.estimated - head.exact)),
            exact: mean(heads.iter().map(|head| head.exact)),
            heads_at_goal: Proportion::of(heads.iter().map(|head| head.exact >= goal as f64 - TOLERANCE)).fraction(),
            worst: heads.iter().map(|head| head.exact).fold(1.0, f64::min),
            density,
            prefill_ms: None,
            search_ms: None,
            coverage: None,
        }
    }
}

/// Searches, and counts what its plans keep.
struct Onlooker<'a> {
    search: &'a Search,
    check: &'a RecallCheck,
    /// By layer and head.
    heads: Mutex<BTreeMap<(usize, usize), Sums>>,
    receipts: Mutex<Receipts>,
}

/// A head, chunk after chunk: sums over queries.
#[derive(Default)]
struct Sums {
    is_sparse: bool,
    queries: usize,
    estimated: f64,
    exact: f64,
}

impl Planner for Onlooker<'_> {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let planned = self.search.plan(scene)?;
        let step = self.check.layer_step;
        if scene.layer % step != step / 2 {
            return Ok(planned);
        }
        let exact = exact_recalls(scene, &planned.plan)?;
        let mut receipts = self.receipts.lock().expect("nobody panicked");
        receipts.add(scene, &planned.plan, &exact, self.check.receipts)?;
        let queries = scene.range().q_len();
        let mut heads = self.heads.lock().expect("nobody panicked");
        for (head, exact) in exact.into_iter().enumerate() {
            let sums = heads.entry((scene.layer, head)).or_default();
            sums.is_sparse |= planned.plan.heads[head] != HeadPlan::Dense;
            sums.queries += queries;
            sums.estimated += planned.choices[head].recall * queries as f64;
            sums.exact += exact * queries as f64;
        }
        Ok(planned)
    }
}

/// Attention that the plan of each head keeps, mean over all queries; centres count nothing.
fn exact_recalls(scene: &Scene, plan: &Plan) -> Result<Vec<f64>, attention::Error> {
    let (heads, queries) = (scene.queries.heads(), scene.range().q_len());
    let run = |plan: &Plan| -> Result<Output, attention::Error> {
        let mut output = Output::new(heads, queries);
        attend(scene.simd, scene.queries, scene.kv, scene.range(), plan, &mut output)?;
        Ok(output)
    };
    let without_centres = |head: &HeadPlan| match head {
        HeadPlan::Sparse(plan) => {
            let (indptr, indices) = (plan.indptr().to_vec(), plan.indices().to_vec());
            SparsePlan::new(plan.tiles(), indptr, indices, plan.columns().to_vec(), false).map(HeadPlan::Sparse)
        }
        other => Ok(other.clone()),
    };
    let plan = Plan { heads: plan.heads.iter().map(without_centres).collect::<Result<_, _>>()? };
    let (sparse, dense) = (run(&plan)?, run(&Plan::dense(heads.num_q_heads()))?);
    let kept = |head: usize, row: usize| ((sparse.lse(head, row) - dense.lse(head, row)) as f64).exp();
    Ok((0..heads.num_q_heads()).map(|head| mean((0..queries).map(|row| kept(head, row)))).collect())
}
