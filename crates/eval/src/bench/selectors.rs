//! Which selector keeps most for the pairs it computes?
//!
//! A prompt goes through the model densely. In some layers every contestant, which is the online search restricted to one
//! selector or family, also plans and executes the attention of each chunk, and its output is compared with the dense one.
//! Thresholds are fitted to each head by the search itself, on probe rows, so all contestants aim at the same recall.

use crate::EvalError;
use crate::statistics::mean;
use attention::attend::{Output, attend};
use attention::pattern::{BlockRule, BlockScore, Selector};
use attention::plan::Plan;
use attention::planner::{Planned, Planner, Scene};
use attention::search::{PatternFamily, Search, Target};
use runtime::engine::{Engine, EngineError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Selectors {
    /// Name and content of each text; each must hold the longest length.
    pub texts: Vec<(String, String)>,
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Recall targets.
    pub recalls: Vec<f32>,
    /// Every so many layers are looked at.
    pub layer_step: usize,
}

/// One contestant on one text.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the text.
    pub text: String,
    /// Prompt length.
    pub length: usize,
    /// Name of the contestant.
    pub selector: String,
    /// Recall aimed at.
    pub target: f32,
    /// Recall that the search expected, mean over heads.
    pub recall: f64,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Relative L2 error of the attention output, mean over heads.
    pub error: f64,
    /// 95th percentile of the error over heads.
    pub error_p95: f64,
}

/// A selector by itself or a combination of patterns.
#[derive(Clone, Debug)]
struct Contestant {
    name: &'static str,
    search: Search,
}

/// All contestants that aim at `recall`.
fn contestants(recall: f32) -> Result<Vec<Contestant>, EngineError> {
    use PatternFamily::{BlockCluster, IntervalSlash, Triangular};
    let base = |families: &[PatternFamily], column_counts: &[usize], centres| -> Result<Search, EngineError> {
        let mut search = Search::new(Target::Recall(recall))?;
        search.families = families.to_vec();
        search.column_counts = column_counts.to_vec();
        search.centres = centres;
        // The question is what a plan keeps, not whether it pays.
        search.cost.margin = f64::INFINITY;
        Ok(search)
    };
    let blocks = |score, rule, column_counts: &[usize], centres| {
        let mut search = base(&[BlockCluster], column_counts, centres)?;
        search.selector = Selector { score, rule };
        Ok(search)
    };
    const COLUMNS: [usize; 4] = [0, 64, 256, 1024];
    const ALL_ROWS: BlockScore = BlockScore::RowPeak { stride: 1 };
    const SOME_ROWS: BlockScore = BlockScore::RowPeak { stride: 4 };
    let (eight, sixteen) = (BlockScore::Antidiagonal { stride: 8 }, BlockScore::Antidiagonal { stride: 16 });
    let named = [
        ("row-peak, all rows", blocks(ALL_ROWS, BlockRule::Share, &[0], false)),
        ("row-peak", blocks(SOME_ROWS, BlockRule::Share, &[0], false)),
        ("row-mass, cumulative", blocks(BlockScore::RowMass, BlockRule::CumulativeMass, &[0], false)),
        ("tile-mass, of maximum", blocks(BlockScore::TileMass, BlockRule::FractionOfMax, &[0], false)),
        ("pooled, cumulative", blocks(BlockScore::Pooled, BlockRule::CumulativeMass, &[0], false)),
        ("pooled, top-k", blocks(BlockScore::Pooled, BlockRule::TopK, &[0], false)),
        ("antidiagonal 8, cumulative", blocks(eight, BlockRule::CumulativeMass, &[0], false)),
        ("antidiagonal 16, cumulative", blocks(sixteen, BlockRule::CumulativeMass, &[0], false)),
        ("interval-slash", base(&[IntervalSlash], &COLUMNS, false)),
        ("triangular", base(&[Triangular], &[0], false)),
        ("tile-mass + centres", blocks(BlockScore::TileMass, BlockRule::FractionOfMax, &[0], true)),
        ("row-peak + centres", blocks(SOME_ROWS, BlockRule::Share, &[0], true)),
        ("row-peak, all rows + columns + centres", blocks(ALL_ROWS, BlockRule::Share, &COLUMNS, true)),
        ("row-peak + columns + centres", blocks(SOME_ROWS, BlockRule::Share, &COLUMNS, true)),
        ("pooled + columns + centres", blocks(BlockScore::Pooled, BlockRule::Share, &COLUMNS, true)),
        ("antidiagonal 8 + columns + centres", blocks(eight, BlockRule::CumulativeMass, &COLUMNS, true)),
        ("interval-slash + centres", base(&[IntervalSlash], &COLUMNS, true)),
        ("triangular + columns + centres", base(&[Triangular], &COLUMNS, true)),
        ("all families + columns + centres", base(&[BlockCluster, IntervalSlash, Triangular], &COLUMNS, true)),
    ];
    named.into_iter().map(|(name, search)| Ok(Contestant { name, search: search? })).collect()
}

impl Selectors {
    /// Compares on every text at every length; `done` hears the number of prompts behind.
    ///
    /// # Errors
    /// When there is nothing to compare, a text is too short, or the engine refuses.
    pub fn run(&self, engine: &mut Engine, done: &mut dyn FnMut(usize)) -> Result<Vec<Row>, EvalError> {
        for (empty, what) in [
            (self.texts.is_empty(), "the list of texts"),
            (self.lengths.is_empty() || self.lengths.contains(&0), "the list of lengths"),
            (self.recalls.is_empty(), "the list of recall targets"),
            (self.layer_step == 0, "the layer step"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        let mut rows = Vec::new();
        for (n, (name, text)) in self.texts.iter().enumerate() {
            let ids = engine.encode(text)?;
            for (m, &length) in self.lengths.iter().enumerate() {
                let Some(prompt) = ids.get(..length) else {
                    return Err(EvalError::TextTooShort { name: name.clone(), length, tokens: ids.len() });
                };
                let study = Study::new(&self.recalls, self.layer_step)?;
                engine.prefill_with(prompt, &study)?;
                rows.extend(study.rows(name, length));
                done(n * self.lengths.len() + m + 1);
            }
        }
        Ok(rows)
    }
}

/// Plans densely, and beside it what every contestant would have done.
struct Study {
    contestants: Vec<(f32, Contestant)>,
    layer_step: usize,
    /// By contestant, layer and head.
    sums: Mutex<BTreeMap<(usize, usize, usize), Sums>>,
}

/// Of one head under one contestant, over all chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    computed_pairs: u64,
    causal_pairs: u64,
    recalled_pairs: f64,
    squared_error: f64,
    squared_output: f64,
}

impl Study {
    fn new(recalls: &[f32], layer_step: usize) -> Result<Self, EngineError> {
        let mut all = Vec::new();
        for &recall in recalls {
            all.extend(contestants(recall)?.into_iter().map(|contestant| (recall, contestant)));
        }
        Ok(Self { contestants: all, layer_step, sums: Mutex::default() })
    }

    fn rows(&self, text: &str, length: usize) -> Vec<Row> {
        let sums = self.sums.lock().expect("no contestant panicked");
        let of_contestant = |n: usize| sums.range((n, 0, 0)..(n + 1, 0, 0)).map(|(_, sums)| *sums);
        let row = |(n, (target, contestant)): (usize, &(f32, Contestant))| {
            let total = |value: fn(&Sums) -> f64| of_contestant(n).map(|sums| value(&sums)).sum::<f64>();
            let mut errors: Vec<f64> =
                of_contestant(n).map(|sums| (sums.squared_error / sums.squared_output.max(1e-30)).sqrt()).collect();
            errors.sort_by(f64::total_cmp);
            Row {
                text: text.into(),
                length,
                selector: contestant.name.into(),
                target: *target,
                recall: total(|sums| sums.recalled_pairs) / total(|sums| sums.causal_pairs as f64),
                density: total(|sums| sums.computed_pairs as f64) / total(|sums| sums.causal_pairs as f64),
                error: mean(errors.iter().copied()),
                error_p95: errors.get((errors.len() * 95 / 100).min(errors.len() - 1)).copied().unwrap_or(0.0),
            }
        };
        self.contestants.iter().enumerate().map(row).collect()
    }
}

impl Planner for Study {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let heads = scene.queries.heads();
        if scene.layer % self.layer_step == self.layer_step / 2 {
            let run = |plan: &Plan| -> Result<Output, attention::Error> {
                let mut output = Output::new(heads, scene.range.q_len());
                attend(scene.simd, scene.queries, scene.kv, scene.range, plan, &mut output)?;
                Ok(output)
            };
            let dense = run(&Plan::dense(heads.num_q_heads()))?;
            for (n, (_, contestant)) in self.contestants.iter().enumerate() {
                let planned = contestant.search.plan(scene)?;
                let output = run(&planned.plan)?;
                let mut sums = self.sums.lock().expect("no contestant panicked");
                for (head, (plan, choice)) in planned.plan.heads.iter().zip(&planned.choices).enumerate() {
                    let sums = sums.entry((n, scene.layer, head)).or_default();
                    let causal_pairs = scene.range.causal_pairs();
                    sums.computed_pairs += plan.pairs(scene.range);
                    sums.causal_pairs += causal_pairs;
                    sums.recalled_pairs += choice.recall * causal_pairs as f64;
                    for row in 0..scene.range.q_len() {
                        for (got, want) in output.row(head, row).iter().zip(dense.row(head, row)) {
                            sums.squared_error += (*got as f64 - want as f64).powi(2);
                            sums.squared_output += (want as f64).powi(2);
                        }
                    }
                }
            }
        }
        Ok(Planned::dense(heads.num_q_heads()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::kv::KvPages;
    use attention::queries::Queries;
    use attention::shape::{HeadShape, QueryRange};
    use attention::simd::Simd;

    #[test]
    fn contestants_are_measured_on_every_head_of_the_chosen_layers() {
        let (heads, len) = (HeadShape::new(2, 1, 32).unwrap(), 1500);
        let rows = |seed: usize, width: usize| -> Vec<f32> {
            (0..len * width).map(|n| ((n * 2654435761 + seed) >> 9) as f32 % 1000.0 / 250.0 - 2.0).collect()
        };
        let mut pages = KvPages::new(heads, 24);
        let table: Vec<u32> = (0..24).collect();
        pages.append_rows(&table, 0, &rows(1, 32), &rows(2, 32)).unwrap();
        let queries = Queries::from_rows(Simd::detect(), heads, &rows(3, 64)).unwrap();
        let study = Study::new(&[0.5, 0.99], 2).unwrap();
        let range = QueryRange::new(len, len).unwrap();
        for layer in 0..4 {
            let kv = &pages.view(&table, len).unwrap();
            let scene = Scene { simd: Simd::detect(), layer, queries: &queries, kv, range, last_rows: 64 };
            assert_eq!(study.plan(&scene).unwrap().plan, Plan::dense(2));
        }
        let rows = study.rows("noise", len);
        assert_eq!(rows.len(), 2 * contestants(0.5).unwrap().len());
        assert_eq!(study.sums.lock().unwrap().len(), rows.len() * 2 * 2, "two layers of two heads");
        for (low, high) in rows.iter().zip(&rows[rows.len() / 2..]) {
            assert_eq!(low.selector, high.selector);
            assert!(low.density <= high.density && low.recall >= 0.5 && high.recall >= 0.98, "{low:?} {high:?}");
            assert!(low.error >= high.error && high.error < 0.2 && low.error.is_finite(), "{low:?} {high:?}");
        }
    }
}
