//! Do the intervals of receipts hold what is kept exactly?

use crate::statistics::mean;
use attention::plan::Plan;
use attention::planner::Scene;
use attention::receipt::{Drawn, Kept};
use serde::Serialize;
use std::collections::BTreeMap;

/// Receipts of one prompt beside what it kept of all queries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// Receipts, each of a seed of its own.
    pub receipts: usize,
    /// Those whose interval for the whole prompt holds the exact value.
    pub prompts_held: usize,
    /// Intervals of single layers, of those with sparse heads.
    pub layers: usize,
    /// Those that hold the exact value of the layer.
    pub layers_held: usize,
    /// Kept by receipt minus kept exactly, of the whole prompt, mean over receipts.
    pub kept_minus_exact: f64,
    /// Exact value minus lower bound, of the whole prompt, mean over receipts.
    pub prompt_margin: f64,
    /// The same of single layers.
    pub layer_margin: f64,
}

/// Receipts and exact values, layer by layer, chunk by chunk.
#[derive(Default)]
pub(super) struct Receipts(BTreeMap<usize, Layer>);

#[derive(Default)]
struct Layer {
    /// Attention kept, summed over the queries of all heads.
    exact: f64,
    queries: f64,
    /// One for each seed.
    drawn: Vec<Drawn>,
}

impl Receipts {
    /// Draws so many receipts of a plan of which `exact` says what each head keeps, mean over all queries.
    pub(super) fn add(
        &mut self,
        scene: &Scene,
        plan: &Plan,
        exact: &[f64],
        count: usize,
    ) -> Result<(), attention::Error> {
        let layer = self.0.entry(scene.layer).or_default();
        let q_len = scene.range().q_len() as f64;
        layer.exact += q_len * exact.iter().sum::<f64>();
        layer.queries += q_len * exact.len() as f64;
        layer.drawn.resize(count, Drawn::default());
        for (seed, drawn) in layer.drawn.iter_mut().enumerate() {
            *drawn += Drawn::of(scene, plan, seed as u64)?;
        }
        Ok(())
    }

    /// What came of them; nothing where no receipt was asked for.
    pub(super) fn coverage(&self) -> Option<Coverage> {
        let count = self.0.values().map(|layer| layer.drawn.len()).max().filter(|count| *count > 0)?;
        let sum = |of: fn(&Layer) -> f64| self.0.values().map(of).sum::<f64>();
        let exact = sum(|layer| layer.exact) / sum(|layer| layer.queries);
        let prompts: Vec<Kept> = (0..count)
            .map(|seed| {
                let mut all = Drawn::default();
                self.0.values().for_each(|layer| all += layer.drawn[seed].clone());
                all.kept()
            })
            .collect();
        let layers = self.0.values().flat_map(|layer| {
            let exact = layer.exact / layer.queries;
            layer.drawn.iter().map(move |drawn| (drawn.kept(), exact))
        });
        let layers: Vec<(Kept, f64)> = layers.filter(|(kept, _)| kept.rows > 0).collect();
        Some(Coverage {
            receipts: count,
            prompts_held: prompts.iter().filter(|kept| holds(kept, exact)).count(),
            layers: layers.len(),
            layers_held: layers.iter().filter(|(kept, exact)| holds(kept, *exact)).count(),
            kept_minus_exact: mean(prompts.iter().map(|kept| kept.kept - exact)),
            prompt_margin: mean(prompts.iter().map(|kept| exact - kept.ci95[0])),
            layer_margin: mean(layers.iter().map(|(kept, exact)| exact - kept.ci95[0])),
        })
    }
}

fn holds(kept: &Kept, exact: f64) -> bool {
    let [low, high] = kept.ci95;
    low <= exact && exact <= high
}
