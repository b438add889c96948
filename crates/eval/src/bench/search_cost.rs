//! What finding patterns costs, stage by stage (the paper's overhead of pattern selection).

use super::interleaved::prompt;
use crate::EvalError;
use crate::statistics::Spread;
use attention::planner::{Planned, Planner, Scene};
use attention::search::{Search, StageTimes};
use runtime::engine::Engine;
use runtime::policy::AttentionPolicy;
use runtime::request::{AttentionMode, Goal, Request, RunStats};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;

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
    /// Scores of blocks, summed over threads.
    pub scores_ms: f64,
    /// Exact probe rows, summed over threads.
    pub probes_ms: f64,
    /// Recall and cost of candidates, summed over threads.
    pub candidates_ms: f64,
    /// Choice and lowering to plans, summed over threads.
    pub lowering_ms: f64,
    /// Rounds.
    pub n: usize,
}

/// Searches, and adds up what the stages took.
struct Watched {
    search: Search,
    times: Mutex<StageTimes>,
}

impl Planner for Watched {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let (planned, times) = self.search.plan_timed(scene)?;
        *self.times.lock().expect("nobody panicked") += times;
        Ok(planned)
    }
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
        let request = Request { attention: AttentionMode::Sparse, goal: self.goal, ..Request::default() };
        let mut measured: Vec<Vec<(RunStats, StageTimes)>> = vec![Vec::new(); self.lengths.len()];
        for _ in 0..self.runs {
            for (&length, measured) in self.lengths.iter().zip(&mut measured) {
                let search = engine.search(&request, length)?.expect("only dense attention needs no search");
                let watched = Watched { search, times: Mutex::default() };
                let stats = engine.prefill_with(&text[..length], AttentionPolicy::Planner(&watched))?;
                measured.push((stats, watched.times.into_inner().expect("nobody panicked")));
                done();
            }
        }
        Ok(self.lengths.iter().zip(&measured).map(|(&length, runs)| row(length, runs)).collect())
    }
}

fn row(length: usize, runs: &[(RunStats, StageTimes)]) -> Row {
    let stats = |value: fn(&RunStats) -> f64| median(runs.iter().map(|(stats, _)| value(stats)));
    let stage =
        |value: fn(&StageTimes) -> Duration| median(runs.iter().map(|(_, times)| 1e3 * value(times).as_secs_f64()));
    Row {
        length,
        prefill_ms: stats(|run| run.prefill_ms),
        search_ms: stats(|run| run.search_ms),
        share_of_prefill: stats(|run| run.search_ms / run.prefill_ms),
        attention_ms: stats(|run| run.attention_ms),
        density: stats(|run| run.density),
        scores_ms: stage(|times| times.scores),
        probes_ms: stage(|times| times.probes),
        candidates_ms: stage(|times| times.candidates),
        lowering_ms: stage(|times| times.lowering),
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
        let run = |ms: u64| {
            let stats = RunStats { prefill_ms: 10.0 * ms as f64, search_ms: ms as f64, ..RunStats::default() };
            (stats, StageTimes { probes: Duration::from_millis(ms), ..StageTimes::default() })
        };
        let row = row(77, &[run(1), run(3), run(100)]);
        assert_eq!((row.length, row.n, row.search_ms, row.probes_ms, row.scores_ms), (77, 3, 3.0, 3.0, 0.0));
        assert!((row.share_of_prefill - 0.1).abs() < 1e-12);
    }
}
