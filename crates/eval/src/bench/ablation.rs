//! What does each part of a pattern contribute? Everything, and everything but one family or part, at the same goal.
//!
//! Density, recall, output error and time come from a contest on the same queries and keys (`contest`); the negative
//! log-likelihood of the text's end from one run of the model under each variant, where what a layer does changes what
//! the next one sees. On a GPU the contest is held on the host, on copies of queries and keys, so its times are the CPU's;
//! the runs search and attend on the device. Every number is paired with that of the full search: heads, layers and tokens are the same.

mod measured;
mod page;

use super::contest::Contest;
use crate::EvalError;
use crate::samples::{Key, Samples};
use crate::statistics::{Estimate, mean, ratio95};
use attention::search::{PatternFamily, Search};
use measured::{Layer, Measured};
use runtime::engine::Engine;
use runtime::policy::AttentionPolicy;
use runtime::request::Goal;
use serde::{Deserialize, Serialize};

pub use page::page;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Ablation {
    /// Name and content of each text; each must hold the longest length.
    pub texts: Vec<(String, String)>,
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Tokens at the end whose likelihood is rated.
    pub tail: usize,
    /// What every variant aims at.
    pub goal: Goal,
}

/// One variant on one text. Intervals *vs all* resample layers, those of the likelihood resample tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the text.
    pub text: String,
    /// Prompt length.
    pub length: usize,
    /// `all`, `no ...` or `dense`.
    pub variant: &'static str,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Density over that of all; nothing where no layer could be searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density_vs_all: Option<Estimate>,
    /// Recall that the search expected.
    pub recall: f64,
    /// Relative L2 error of the attention output, mean over heads.
    pub error: f64,
    /// Error over that of all; nothing for dense, which has none, and where the full search left every head dense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_vs_all: Option<Estimate>,
    /// Search and attention of all layers, on the host.
    pub attention_ms: f64,
    /// Time over that of all; nothing where no layer could be searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_vs_all: Option<Estimate>,
    /// Mean negative log-likelihood of the tail, nats a token.
    pub nll: f64,
    /// NLL over that of dense attention, minus one; nothing where that is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll_vs_dense: Option<Estimate>,
    /// Tokens rated.
    pub n: usize,
}

/// What the full search chose for one head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeadRow {
    /// Name of the text.
    pub text: String,
    /// Prompt length.
    pub length: usize,
    /// Layer.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// Kind of pattern, that of most pairs where chunks differ.
    pub pattern: String,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Recall that the search expected.
    pub recall: f64,
    /// Relative L2 error of the output.
    pub error: f64,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// One for each text, length and variant.
    pub rows: Vec<Row>,
    /// One for each text, length, layer and head.
    pub atlas: Vec<HeadRow>,
}

/// The variant that has every part, which the others are compared with.
const ALL: &str = "all";
/// The variant that computes every pair.
const DENSE: &str = "dense";
/// What the prefill is kept as in which all variants are measured on the same queries and keys.
const CONTEST: &str = "contest";

/// The full search, and the same without each of its parts; the full one first.
pub fn variants(full: &Search) -> Vec<(&'static str, Search)> {
    let but = |change: &dyn Fn(&mut Search)| {
        let mut search = full.clone();
        change(&mut search);
        search
    };
    let without = |family: PatternFamily| but(&|search| search.families.retain(|kept| *kept != family));
    vec![
        (ALL, full.clone()),
        ("no block-cluster", without(PatternFamily::BlockCluster)),
        ("no interval-slash", without(PatternFamily::IntervalSlash)),
        ("no triangular", without(PatternFamily::Triangular)),
        ("no columns", but(&|search| search.column_counts = vec![0])),
        ("no centres", but(&|search| search.centres = false)),
    ]
}

impl Ablation {
    /// Prefills that there will be: the contest, dense and each variant.
    pub fn prefills(&self) -> usize {
        self.texts.len() * self.lengths.len() * (2 + 6)
    }

    /// Compares on every text at every length, by one prefill after another; `kept` are those of an earlier run, `done` is told
    /// after each.
    ///
    /// # Errors
    /// When there is nothing to compare, a text is too short, a finding cannot be kept, or the engine refuses.
    pub fn run(&self, engine: &mut Engine, kept: &mut Samples, done: &mut dyn FnMut()) -> Result<Findings, EvalError> {
        for (empty, what) in [
            (self.texts.is_empty(), "the list of texts"),
            (self.lengths.is_empty() || self.lengths.iter().any(|length| *length < 2), "the list of lengths"),
            (self.tail == 0, "the number of tokens to rate"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        // All of them first: a budget that is too small for one is told before hours of others.
        for &length in &self.lengths {
            engine.search_for(self.goal, length)?;
        }
        let mut findings = Findings::default();
        for (index, (name, text)) in self.texts.iter().enumerate() {
            let ids = engine.encode(text)?;
            for &length in &self.lengths {
                let Some(prompt) = ids.get(..length) else {
                    return Err(EvalError::TextTooShort { name: name.clone(), length, tokens: ids.len() });
                };
                let full = engine.search_for(self.goal, length)?;
                let variants = variants(&full);

                let key = |mode: &str| Key { task: "ablation".into(), length, index, seed: 0, mode: mode.into() };

                let measured = kept.once(key(CONTEST), || {
                    let contest = Contest::new(variants.iter().map(|(_, search)| search.clone()).collect(), 1);
                    engine.prefill_with(prompt, AttentionPolicy::Planner(&contest))?;
                    Ok(Measured::of(&contest.finish(), variants.len(), name, length))
                })?;
                done();

                let mut rate = |variant: &str, search: Option<&Search>| -> Result<Vec<f64>, EvalError> {
                    let nll = kept.once(key(variant), || {
                        let (nll, _) = engine.tail_nll_with(prompt, self.tail, AttentionPolicy::from(search))?;
                        Ok(nll)
                    })?;
                    done();
                    Ok(nll)
                };
                let dense_nll = rate(DENSE, None)?;
                let nlls: Vec<Vec<f64>> =
                    (variants.iter()).map(|(variant, search)| rate(variant, Some(search))).collect::<Result<_, _>>()?;
                let of = |variant, layers, nll| row((name, length, variant), layers, &measured, nll, &dense_nll);
                findings.rows.push(of(DENSE, None, &dense_nll));
                for (n, ((variant, _), nll)) in variants.iter().zip(&nlls).enumerate() {
                    findings.rows.push(of(variant, Some(n), nll));
                }
                findings.atlas.extend(measured.atlas);
            }
        }
        Ok(findings)
    }
}

fn row(
    (text, length, variant): (&str, usize, &'static str),
    contestant: Option<usize>,
    measured: &Measured,
    nll: &[f64],
    dense_nll: &[f64],
) -> Row {
    let (own, all) = (contestant.map_or(&measured.dense, |n| &measured.variants[n]), &measured.variants[0]);
    let versus = |value: fn(&Layer) -> f64| {
        let of = |layers: &[Layer]| layers.iter().map(value).collect::<Vec<_>>();
        ratio95(&of(own), &of(all))
    };
    let over_layers = |value: fn(&Layer) -> f64| mean(own.iter().map(value));
    Row {
        text: text.into(),
        length,
        variant,
        density: over_layers(|layer| layer.density),
        density_vs_all: versus(|layer| layer.density),
        recall: over_layers(|layer| layer.recall),
        error: over_layers(|layer| layer.error),
        error_vs_all: contestant.and_then(|_| versus(|layer| layer.error)),
        attention_ms: own.iter().map(|layer| layer.ms).sum(),
        attention_vs_all: versus(|layer| layer.ms),
        nll: mean(nll.iter().copied()),
        nll_vs_dense: relative_change(nll, dense_nll),
        n: nll.len(),
    }
}

/// Mean over mean of the paired base, minus one.
fn relative_change(values: &[f64], base: &[f64]) -> Option<Estimate> {
    let Estimate { value, ci95 } = ratio95(values, base)?;
    Some(Estimate { value: value - 1.0, ci95: ci95.map(|end| end - 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::kv::KvPages;
    use attention::planner::{Planner, Scene};
    use attention::queries::Queries;
    use attention::search::Target;
    use attention::shape::{HeadShape, QueryRange};
    use attention::simd::Simd;

    #[test]
    fn each_variant_lacks_one_part() {
        let full = Search::new(Target::Recall(0.9)).unwrap();
        let variants = variants(&full);
        assert_eq!(variants[0].1, full);
        for (name, search) in &variants[1..] {
            let lacks =
                [search.families.len() == full.families.len() - 1, search.column_counts == [0], !search.centres];
            assert_eq!(lacks.iter().filter(|lacks| **lacks).count(), 1, "{name}");
        }
    }

    #[test]
    fn rows_are_paired_with_the_full_search() {
        let (heads, len) = (HeadShape::new(2, 1, 32).unwrap(), 3000);
        let rows = |seed: usize, width: usize| -> Vec<f32> {
            (0..len * width).map(|n| ((n * 2654435761 + seed) >> 9) as f32 % 1000.0 / 250.0 - 2.0).collect()
        };
        let mut pages = KvPages::new(heads, 47);
        let table: Vec<u32> = (0..47).collect();
        pages.append_rows(&table, 0, &rows(1, 32), &rows(2, 32)).unwrap();
        let queries = Queries::from_rows(Simd::detect(), heads, &rows(3, 64)).unwrap();
        let mut search = Search::new(Target::Recall(0.8)).unwrap();
        search.cost.margin = f64::INFINITY;
        let variants = variants(&search);
        let contest = Contest::new(variants.iter().map(|(_, search)| search.clone()).collect(), 1);
        for layer in 0..3 {
            let kv = &pages.view(&table, len).unwrap();
            let range = QueryRange::new(len, len).unwrap();
            let scene = Scene {
                simd: Simd::detect(),
                layer,
                queries: &queries,
                kv,
                tiles: range.tiles(64).unwrap(),
                last_rows: 64,
            };
            contest.plan(&scene).unwrap();
        }
        let measured = Measured::of(&contest.finish(), variants.len(), "noise", len);
        let measured: Measured = serde_json::from_str(&serde_json::to_string(&measured).unwrap()).unwrap();
        let of = |variant, n, nll: &[f64]| row(("noise", len, variant), n, &measured, nll, &[2.0, 4.0]);
        let all = of("all", Some(0), &[2.1, 4.2]);
        assert_eq!((all.density_vs_all.unwrap().value, all.error_vs_all.unwrap().value), (1.0, 1.0));
        assert!((all.nll_vs_dense.unwrap().value - 0.05).abs() < 1e-12 && all.recall >= 0.8 && all.n == 2);
        let dense = of("dense", None, &[2.0, 4.0]);
        assert_eq!((dense.density, dense.error, dense.nll_vs_dense.unwrap().value), (1.0, 0.0, 0.0));
        assert!((dense.density_vs_all.unwrap().value - 1.0 / all.density).abs() < 1e-9 && dense.error_vs_all.is_none());
        // The same keys in each layer: nothing varies over layers.
        let [low, high] = of("no centres", Some(5), &[2.0, 4.0]).error_vs_all.unwrap().ci95;
        assert!((high - low).abs() < 1e-9 && low > 1.0, "{low} {high}");
        let atlas = measured.atlas;
        assert_eq!(
            atlas.iter().map(|row| (row.layer, row.head)).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
        );
        assert!(atlas.iter().all(|row| row.pattern != "dense" && row.density < 1.0));
        let page = super::page("<model>", "a recall of 0.8", &Findings { rows: vec![all, dense], atlas }, None);
        assert!(page.contains("&lt;model&gt;") && page.contains("noise, 3000 tokens") && page.contains("head 1: "));
    }

    #[test]
    fn where_every_head_stays_dense_nothing_is_no_number() {
        let layers = || vec![measured::Layer { density: 1.0, recall: 1.0, error: 0.0, ms: 2.0 }];
        for (dense, variants) in [(layers(), vec![layers()]), (vec![], vec![vec![]])] {
            let measured = Measured { dense, variants, atlas: Vec::new() };
            let row = row(("prose", 100, "no columns"), Some(0), &measured, &[0.0], &[0.0]);
            assert_eq!((row.error_vs_all, row.nll_vs_dense), (None, None));
            let said = row.cells().join(" ") + &serde_json::to_string(&row).unwrap();
            assert!(!said.contains("NaN") && !said.contains("null"), "{said}");
        }
    }
}
