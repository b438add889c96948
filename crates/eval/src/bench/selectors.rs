//! Which selector keeps most for the pairs it computes?
//!
//! In some layers of a dense prefill every contestant, which is the online search restricted to one selector or family, plans
//! and executes attention too (`contest`). Thresholds are fitted to each head by the search itself, on probe rows, so all contestants aim at the same recall.

use super::contest::{Contest, HeadSums, Outcome};
use crate::EvalError;
use crate::statistics::mean;
use attention::pattern::{BlockRule, BlockScore, Selector};
use attention::search::{PatternFamily, Search, Target};
use runtime::engine::{Engine, EngineError};
use runtime::policy::AttentionPolicy;
use serde::Serialize;

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
        let contestants = all_contestants(&self.recalls)?;
        let mut found = Vec::new();
        for (n, (name, text)) in self.texts.iter().enumerate() {
            let ids = engine.encode(text)?;
            for (m, &length) in self.lengths.iter().enumerate() {
                let Some(prompt) = ids.get(..length) else {
                    return Err(EvalError::TextTooShort { name: name.clone(), length, tokens: ids.len() });
                };
                let contest =
                    Contest::new(contestants.iter().map(|(_, it)| it.search.clone()).collect(), self.layer_step);
                engine.prefill_with(prompt, AttentionPolicy::Planner(&contest))?;
                found.extend(rows(name, length, &contestants, &contest.finish()));
                done(n * self.lengths.len() + m + 1);
            }
        }
        Ok(found)
    }
}

fn all_contestants(recalls: &[f32]) -> Result<Vec<(f32, Contestant)>, EngineError> {
    let mut all = Vec::new();
    for &recall in recalls {
        all.extend(contestants(recall)?.into_iter().map(|contestant| (recall, contestant)));
    }
    Ok(all)
}

fn rows(text: &str, length: usize, contestants: &[(f32, Contestant)], outcome: &Outcome) -> Vec<Row> {
    let row = |(n, (target, contestant)): (usize, &(f32, Contestant))| {
        let pairs = || outcome.heads(n).map(|(.., head)| head.causal_pairs() as f64).sum::<f64>();
        let total = |share: fn(&HeadSums) -> f64| {
            outcome.heads(n).map(|(.., head)| share(head) * head.causal_pairs() as f64).sum::<f64>() / pairs()
        };
        let mut errors: Vec<f64> = outcome.heads(n).map(|(.., head)| head.error()).collect();
        errors.sort_by(f64::total_cmp);
        Row {
            text: text.into(),
            length,
            selector: contestant.name.into(),
            target: *target,
            recall: total(HeadSums::recall),
            density: total(HeadSums::density),
            error: mean(errors.iter().copied()),
            error_p95: errors.get((errors.len() * 95 / 100).min(errors.len() - 1)).copied().unwrap_or(0.0),
        }
    };
    contestants.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::kv::KvPages;
    use attention::plan::Plan;
    use attention::planner::{Planner, Scene};
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
        let contestants = all_contestants(&[0.5, 0.99]).unwrap();
        let contest = Contest::new(contestants.iter().map(|(_, it)| it.search.clone()).collect(), 2);
        let range = QueryRange::new(len, len).unwrap();
        for layer in 0..4 {
            let kv = &pages.view(&table, len).unwrap();
            let scene = Scene {
                simd: Simd::detect(),
                layer,
                queries: &queries,
                kv,
                tiles: range.tiles(64).unwrap(),
                last_rows: 64,
            };
            assert_eq!(contest.plan(&scene).unwrap().plan, Plan::dense(2));
        }
        let outcome = contest.finish();
        let rows = super::rows("noise", len, &contestants, &outcome);
        assert_eq!(rows.len(), contestants.len());
        assert!((0..rows.len()).all(|n| outcome.heads(n).count() == 2 * 2), "two layers of two heads");
        assert!((0..rows.len()).all(|n| outcome.times_ms(n).len() == 2) && outcome.dense_times_ms().len() == 2);
        for (low, high) in rows.iter().zip(&rows[rows.len() / 2..]) {
            assert_eq!(low.selector, high.selector);
            assert!(low.density <= high.density && low.recall >= 0.5 && high.recall >= 0.98, "{low:?} {high:?}");
            assert!(low.error >= high.error && high.error < 0.2 && low.error.is_finite(), "{low:?} {high:?}");
        }
    }
}
