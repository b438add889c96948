//! Time to first token, dense beside sparse.
//!
//! Each round runs every length with every attention mode before the next round begins, every other one backwards.

use super::interleaved::{Case, Interleaved, ttft_ms};
use crate::statistics::Spread;
use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};

/// What to time.
#[derive(Clone, Debug)]
pub struct Ttft {
    /// Prompt lengths, in tokens; prompts have exactly these.
    pub lengths: Vec<usize>,
    /// Attention modes.
    pub attention: Vec<AttentionMode>,
    /// Rounds.
    pub runs: usize,
    /// What sparse attention aims at.
    pub goal: Goal,
    /// Name and content of a text whose beginnings are the prompts; filler without one.
    pub text: Option<(String, String)>,
}

/// One length with one attention mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Tokens of the prompt.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Time to first token over the rounds.
    pub ttft_ms: Spread,
    /// Dense time over this mode's, medians; absent when dense was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup_vs_dense: Option<f64>,
    /// Median time to find patterns.
    pub search_ms: f64,
    /// Median time to execute attention.
    pub attention_ms: f64,
    /// Median time of matrix products, where they were timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products_ms: Option<f64>,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Estimated attention mass kept.
    pub recall: Option<f64>,
    /// Memory that was predicted before the run; older files call it a peak.
    #[serde(alias = "peak_memory_bytes")]
    pub predicted_memory_bytes: u64,
    /// Most memory that was held on the device during these runs, where it can be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_memory_bytes: Option<u64>,
}

impl Ttft {
    /// Times everything. `done` hears the number of runs finished, of `lengths x attention x runs`.
    ///
    /// # Errors
    /// When there is nothing to time, a length is beyond the model's context, or the engine refuses.
    pub fn run(&self, model: &mut impl Completer, done: &mut dyn FnMut(usize)) -> Result<Vec<Row>, EvalError> {
        if self.attention.is_empty() {
            return Err(EvalError::Nothing("the list of attention modes"));
        }
        let cases: Vec<Case> =
            self.lengths.iter().flat_map(|&length| self.attention.iter().map(move |&mode| (length, mode))).collect();
        let mut finished = 0;
        let stats = Interleaved::new(model, &self.lengths, self.goal, self.text.as_ref())?.time(
            &cases,
            self.runs,
            &mut || {
                finished += 1;
                done(finished);
            },
        )?;
        let mut rows: Vec<Row> = cases
            .iter()
            .zip(&stats)
            .map(|(&(length, attention), runs)| {
                let spread = |value: fn(&runtime::request::RunStats) -> f64| {
                    Spread::of(runs.iter().map(value)).expect("at least one run")
                };
                Row {
                    length,
                    attention,
                    ttft_ms: Spread::of(ttft_ms(runs)).expect("at least one run"),
                    speedup_vs_dense: None,
                    search_ms: spread(|run| run.search_ms).median,
                    attention_ms: spread(|run| run.attention_ms).median,
                    products_ms: Spread::of(runs.iter().filter_map(|run| run.products_ms)).map(|spread| spread.median),
                    density: spread(|run| run.density).median,
                    recall: Spread::of(runs.iter().filter_map(|run| run.recall)).map(|spread| spread.median),
                    measured_memory_bytes: runs.iter().filter_map(|run| run.measured_memory_bytes).max(),
                    predicted_memory_bytes: runs.iter().map(|run| run.predicted_memory_bytes).max().unwrap_or(0),
                }
            })
            .collect();
        let dense: Vec<(usize, f64)> = rows
            .iter()
            .filter(|row| row.attention == AttentionMode::Dense)
            .map(|row| (row.length, row.ttft_ms.median))
            .collect();
        for row in &mut rows {
            let beside = dense.iter().find(|(length, _)| *length == row.length);
            row.speedup_vs_dense = beside.map(|(_, dense_ms)| dense_ms / row.ttft_ms.median);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;
    use AttentionMode::{Dense, Sparse};

    #[test]
    fn rounds_interleave_and_lengths_are_exact() {
        let mut model = ScriptedModel::default();
        let bench = Ttft {
            lengths: vec![300, 1000],
            attention: vec![Dense, Sparse],
            runs: 2,
            goal: Goal::Recall(0.9),
            text: None,
        };
        let mut heard = Vec::new();
        let rows = bench.run(&mut model, &mut |n| heard.push(n)).unwrap();
        assert_eq!(heard, (1..=8).collect::<Vec<_>>());
        let round = [(300, Dense), (300, Sparse), (1000, Dense), (1000, Sparse)];
        let back = [round[3], round[2], round[1], round[0]];
        assert_eq!(model.requests[1..], [round, back].concat());
        assert_eq!(rows[3].ttft_ms.median, 500.0);
        assert_eq!(rows[3].speedup_vs_dense, Some(2.0));
        // Of these prompts, not of the longest so far.
        let held: Vec<_> = rows.iter().map(|row| row.measured_memory_bytes).collect();
        assert_eq!(held, [Some(300), Some(300), Some(1000), Some(1000)]);
        let json = serde_json::to_value(&rows[0]).unwrap();
        for key in ["length", "attention", "ttft_ms", "search_ms", "attention_ms", "density", "predicted_memory_bytes"]
        {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn without_dense_there_is_no_speed_up() {
        let bench = Ttft { lengths: vec![300], attention: vec![Sparse], runs: 1, goal: Goal::Recall(0.9), text: None };
        let rows = bench.run(&mut ScriptedModel::default(), &mut |_| {}).unwrap();
        assert_eq!(rows[0].speedup_vs_dense, None);
    }

    #[test]
    fn refuses_what_cannot_be_timed() {
        let base = Ttft { lengths: vec![300], attention: vec![Dense], runs: 1, goal: Goal::Recall(0.9), text: None };
        let run = |bench: Ttft| bench.run(&mut ScriptedModel::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(run(Ttft { lengths: vec![], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Ttft { lengths: vec![0], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Ttft { runs: 0, ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Ttft { lengths: vec![9000], ..base }), EvalError::BeyondContext { .. }));
    }
}
