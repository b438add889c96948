//! What the default attention mode costs prompts that are too short to gain from it.
//!
//! The engine decides by its cost model whether to search at all ([`Search`](attention::search::Search)); where it does not,
//! `auto` must be as fast as dense.

use super::interleaved::{Case, Interleaved, check_rounds, ttft_ms};
use crate::statistics::{Estimate, Spread, bootstrap95};
use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};

/// What to time.
#[derive(Clone, Debug)]
pub struct Overhead {
    /// Prompt lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Rounds.
    pub runs: usize,
    /// What sparse attention aims at.
    pub goal: Goal,
}

/// One length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Tokens of the prompt.
    pub length: usize,
    /// Time to first token, dense.
    pub dense_ms: Spread,
    /// Time to first token, auto.
    pub auto_ms: Spread,
    /// Time of auto over dense's in the same round, median over rounds; the interval resamples rounds.
    pub ratio: Estimate,
    /// Rounds.
    pub n: usize,
    /// Computed pairs over causal pairs of auto: 1 where it was dense.
    pub density: f64,
}

impl Overhead {
    /// Times everything; `done` is told after each run, of `2 x lengths x runs`.
    ///
    /// # Errors
    /// When there is nothing to time, too few rounds, a length beyond the model's context, or the engine refuses.
    pub fn run(&self, model: &mut impl Completer, done: &mut dyn FnMut()) -> Result<Vec<Row>, EvalError> {
        check_rounds(self.runs)?;
        let modes = [AttentionMode::Dense, AttentionMode::Auto];
        let cases: Vec<Case> = self.lengths.iter().flat_map(|&length| modes.map(|mode| (length, mode))).collect();
        let stats = Interleaved::new(model, &self.lengths, self.goal, None)?.time(&cases, self.runs, done)?;
        let row = |(&length, runs): (&usize, &[Vec<runtime::request::RunStats>])| {
            let (dense, auto) = (ttft_ms(&runs[0]), ttft_ms(&runs[1]));
            Row {
                length,
                dense_ms: Spread::of(dense.iter().copied()).expect("some rounds"),
                auto_ms: Spread::of(auto.iter().copied()).expect("some rounds"),
                ratio: paired_ratio(&auto, &dense),
                n: self.runs,
                density: Spread::of(runs[1].iter().map(|run| run.density)).expect("some rounds").median,
            }
        };
        Ok(self.lengths.iter().zip(stats.chunks_exact(2)).map(row).collect())
    }
}

/// Median over rounds of `times / base`.
pub(super) fn paired_ratio(times: &[f64], base: &[f64]) -> Estimate {
    bootstrap95(times.len(), |rounds| median_ratio(times, base, rounds))
}

/// Median of `times / base` over some rounds.
pub(super) fn median_ratio(times: &[f64], base: &[f64], rounds: &[usize]) -> f64 {
    Spread::of(rounds.iter().map(|&round| times[round] / base[round])).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::super::scripted_times::ScriptedTimes;
    use super::*;

    #[test]
    fn a_constant_overhead_is_found_under_drift() {
        // Every run is slower than the one before, and auto takes a twentieth more.
        let mut model = ScriptedTimes::new(|length, attention, run| {
            let factor = if attention == AttentionMode::Auto { 1.05 } else { 1.0 };
            length as f64 * factor * (1.0 + run as f64 / 1000.0)
        });
        let bench = Overhead { lengths: vec![1, 16], runs: 30, goal: Goal::default() };
        let mut heard = 0;
        let rows = bench.run(&mut model, &mut || heard += 1).unwrap();
        assert_eq!((heard, rows.len(), rows[1].length, rows[1].n), (120, 2, 16, 30));
        for row in rows {
            let [low, high] = row.ratio.ci95;
            assert!((row.ratio.value - 1.05).abs() < 2e-3 && low <= 1.05 && high >= 1.05 - 1e-9, "{row:?}");
            assert!(high - low < 0.01 && row.density == 1.0);
        }
    }

    #[test]
    fn refuses_what_cannot_be_timed() {
        let run = |lengths: Vec<usize>, runs| {
            let bench = Overhead { lengths, runs, goal: Goal::default() };
            bench.run(&mut ScriptedTimes::new(|_, _, _| 1.0), &mut || {}).unwrap_err()
        };
        assert!(matches!(run(vec![1], 2), EvalError::TooFewRounds { runs: 2 }));
        assert!(matches!(run(vec![], 3), EvalError::Nothing(_)));
        assert!(matches!(run(vec![1 << 18], 3), EvalError::BeyondContext { .. }));
    }
}
