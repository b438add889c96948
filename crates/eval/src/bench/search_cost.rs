//! What finding patterns costs, stage by stage (the paper's overhead of pattern selection).

use super::interleaved::prompt;
use crate::EvalError;
use crate::statistics::Spread;
use runtime::engine::Engine;
use runtime::policy::AttentionPolicy;
use runtime::request::{Goal, RunStats, StagesMs};
use serde::{Deserialize, Serialize};

/// What to time.
#[derive(Clone, Debug)]
pub struct SearchCost {
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Rounds.
    pub runs: usize,
    /// What the search aims at.
    pub goal: Goal,
}

/// One length. Times are medians over rounds, of all layers and heads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Tokens of the prompt.
    pub length: usize,
    /// The whole prefill.
    pub prefill_ms: f64,
    /// Search, wall time.
    pub search_ms: f64,
    /// Search over prefill.
    pub share_of_prefill: f64,
    /// Executing the plans that were found.
    pub attention_ms: f64,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Stages of the search; on a GPU only where they were timed
    /// ([`EngineOptions::profile`](runtime::engine::EngineOptions::profile)).
    #[serde(flatten)]
    pub stages: Option<StagesMs>,
    /// Rounds.
    pub n: usize,
}

impl SearchCost {
    /// Times everything; `done` is told after each run, of `lengths x runs`.
    ///
    /// # Errors
    /// When there is nothing to time, a length is beyond the model's context, or the engine refuses.
    pub fn run(&self, engine: &mut Engine, done: &mut dyn FnMut()) -> Result<Vec<Row>, EvalError> {
        if self.runs == 0 {
            return Err(EvalError::Nothing("the number of runs"));
        }
        let text = prompt(engine, &self.lengths)?;
        let mut measured: Vec<Vec<RunStats>> = vec![Vec::new(); self.lengths.len()];
        // All of them first: a budget that is too small for one is told before the others have run.
        let searches = self.lengths.iter().map(|&length| engine.search_for(self.goal, length));
        let searches = searches.collect::<Result<Vec<_>, _>>()?;
        for _ in 0..self.runs {
            for ((&length, search), measured) in self.lengths.iter().zip(&searches).zip(&mut measured) {
                measured.push(engine.prefill_with(&text[..length], AttentionPolicy::Search(search))?);
                done();
            }
        }
        Ok(self.lengths.iter().zip(&measured).map(|(&length, runs)| row(length, runs)).collect())
    }
}

fn row(length: usize, runs: &[RunStats]) -> Row {
    let stats = |value: fn(&RunStats) -> f64| median(runs.iter().map(value));
    let timed: Option<Vec<StagesMs>> = runs.iter().map(|run| run.search_stages).collect();
    let stages = timed.map(|timed| {
        let stage = |value: fn(&StagesMs) -> f64| median(timed.iter().map(value));
        StagesMs {
            scores_ms: stage(|times| times.scores_ms),
            probes_ms: stage(|times| times.probes_ms),
            candidates_ms: stage(|times| times.candidates_ms),
            lowering_ms: stage(|times| times.lowering_ms),
        }
    });
    Row {
        length,
        prefill_ms: stats(|run| run.prefill_ms),
        search_ms: stats(|run| run.search_ms),
        share_of_prefill: stats(|run| run.search_ms / run.prefill_ms),
        attention_ms: stats(|run| run.attention_ms),
        density: stats(|run| run.density),
        stages,
        n: runs.len(),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_medians() {
        let run = |ms: f64| RunStats {
            prefill_ms: 10.0 * ms,
            search_ms: ms,
            search_stages: Some(StagesMs { probes_ms: ms, ..StagesMs::default() }),
            ..RunStats::default()
        };
        let row = row(77, &[run(1.0), run(3.0), run(100.0)]);
        assert_eq!((row.length, row.n, row.search_ms), (77, 3, 3.0));
        assert_eq!(row.stages, Some(StagesMs { probes_ms: 3.0, ..StagesMs::default() }));
        assert!((row.share_of_prefill - 0.1).abs() < 1e-12);
    }

    #[test]
    fn stages_that_were_not_timed_are_not_in_the_file() {
        let untimed = row(77, &[RunStats { search_ms: 1.0, prefill_ms: 2.0, ..RunStats::default() }]);
        let json = serde_json::to_string(&untimed).unwrap();
        assert!(!json.contains("scores_ms"), "{json}");
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap().stages, None);
        let stages = Some(StagesMs { scores_ms: 1.5, ..StagesMs::default() });
        let json = serde_json::to_string(&Row { stages, ..untimed }).unwrap();
        assert!(json.contains("\"scores_ms\":1.5"), "{json}");
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap().stages, stages);
    }
}
