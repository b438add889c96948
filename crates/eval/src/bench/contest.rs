//! Searches that compete on the same queries and keys.
//!
//! A prompt goes through the model densely, so that every layer sees what it would see without any of them. Beside it each
//! contestant plans and executes the attention of the layer as well, and its output is compared with the dense one, which
//! comes first. Contestants work on the host; a GPU hands them copies of its queries, keys and values.

use attention::attend::{Output, attend};
use attention::plan::Plan;
use attention::planner::{HeadChoice, Planned, Planner, Scene};
use attention::search::Search;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Plans densely, and lets the contestants do their work beside it.
pub(super) struct Contest {
    searches: Vec<Search>,
    layer_step: usize,
    outcome: Mutex<Outcome>,
}

/// What was measured.
#[derive(Default)]
pub(super) struct Outcome {
    /// By contestant, layer and head, over all chunks.
    heads: BTreeMap<(usize, usize, usize), HeadSums>,
    /// Search and attention by contestant and layer, wall time.
    times: BTreeMap<(usize, usize), Duration>,
    /// Dense attention by layer.
    dense_times: BTreeMap<usize, Duration>,
}

/// One head under one contestant.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadSums {
    computed_pairs: u64,
    causal_pairs: u64,
    recalled_pairs: f64,
    squared_error: f64,
    squared_output: f64,
    /// Causal pairs of the chunks that had each kind of pattern.
    pairs_of_pattern: BTreeMap<&'static str, u64>,
}

impl HeadSums {
    /// Computed pairs over causal pairs.
    pub(super) fn density(&self) -> f64 {
        self.computed_pairs as f64 / self.causal_pairs as f64
    }

    /// Attention mass that the search expected to keep.
    pub(super) fn recall(&self) -> f64 {
        self.recalled_pairs / self.causal_pairs as f64
    }

    /// Relative L2 error of the output.
    pub(super) fn error(&self) -> f64 {
        (self.squared_error / self.squared_output.max(1e-30)).sqrt()
    }

    /// The kind of pattern that most pairs had.
    pub(super) fn pattern(&self) -> &'static str {
        self.pairs_of_pattern.iter().max_by_key(|(_, pairs)| **pairs).map_or("dense", |(name, _)| name)
    }

    /// Causal pairs.
    pub(super) fn causal_pairs(&self) -> u64 {
        self.causal_pairs
    }
}

impl Outcome {
    /// Layer, head and sums of one contestant, in order.
    pub(super) fn heads(&self, contestant: usize) -> impl Iterator<Item = (usize, usize, &HeadSums)> {
        let of_it = self.heads.range((contestant, 0, 0)..(contestant + 1, 0, 0));
        of_it.map(|(&(_, layer, head), sums)| (layer, head, sums))
    }

    /// Milliseconds of search and attention of one contestant in each layer, in order.
    pub(super) fn times_ms(&self, contestant: usize) -> Vec<f64> {
        let of_it = self.times.range((contestant, 0)..(contestant + 1, 0));
        of_it.map(|(_, time)| 1e3 * time.as_secs_f64()).collect()
    }

    /// Milliseconds of dense attention in each layer, in order.
    pub(super) fn dense_times_ms(&self) -> Vec<f64> {
        self.dense_times.values().map(|time| 1e3 * time.as_secs_f64()).collect()
    }
}

impl Contest {
    /// Looks at every `layer_step`-th layer, from the middle of the first step on.
    pub(super) fn new(searches: Vec<Search>, layer_step: usize) -> Self {
        Self { searches, layer_step, outcome: Mutex::default() }
    }

    pub(super) fn finish(self) -> Outcome {
        self.outcome.into_inner().expect("no contestant panicked")
    }
}

impl Planner for Contest {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let heads = scene.queries.heads();
        if scene.layer % self.layer_step != self.layer_step / 2 {
            return Ok(Planned::dense(heads.num_q_heads()));
        }
        let run = |plan: &Plan| -> Result<Output, attention::Error> {
            let mut output = Output::new(heads, scene.range().q_len());
            attend(scene.simd, scene.queries, scene.kv, scene.range(), plan, &mut output)?;
            Ok(output)
        };
        let started = Instant::now();
        let dense = run(&Plan::dense(heads.num_q_heads()))?;
        let dense_time = started.elapsed();
        // No contestant always runs first.
        for step in 0..self.searches.len() {
            let n = (step + scene.layer) % self.searches.len();
            let started = Instant::now();
            let planned = self.searches[n].plan(scene)?;
            let output = run(&planned.plan)?;
            let time = started.elapsed();
            let mut outcome = self.outcome.lock().expect("no contestant panicked");
            *outcome.times.entry((n, scene.layer)).or_default() += time;
            for (head, choice) in planned.choices.iter().enumerate() {
                let sums = outcome.heads.entry((n, scene.layer, head)).or_default();
                sums.add(scene, head, &planned.plan, choice, &output, &dense);
            }
        }
        let mut outcome = self.outcome.lock().expect("no contestant panicked");
        *outcome.dense_times.entry(scene.layer).or_default() += dense_time;
        Ok(Planned::dense(heads.num_q_heads()))
    }
}

impl HeadSums {
    fn add(&mut self, scene: &Scene, head: usize, plan: &Plan, choice: &HeadChoice, output: &Output, dense: &Output) {
        let causal_pairs = scene.range().causal_pairs();
        self.computed_pairs += plan.heads[head].pairs(scene.range());
        self.causal_pairs += causal_pairs;
        self.recalled_pairs += choice.recall * causal_pairs as f64;
        *self.pairs_of_pattern.entry(choice.pattern.name()).or_default() += causal_pairs;
        for row in 0..scene.range().q_len() {
            for (got, want) in output.row(head, row).iter().zip(dense.row(head, row)) {
                self.squared_error += (*got as f64 - want as f64).powi(2);
                self.squared_output += (want as f64).powi(2);
            }
        }
    }
}
