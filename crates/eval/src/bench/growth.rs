//! How fast the time to first token grows with the prompt: the *growth gradient* that the paper compares methods by
//! (arXiv 2412.06198, section 4), which it draws and does not define.
//!
//! Here it is the time that each further thousand tokens take between two lengths. Beside it stands the exponent `b` of
//! `time = a length^b`: 1 where twice the prompt takes twice the time, 2 where it takes four times.

use super::interleaved::{Case, Interleaved, check_rounds, ttft_ms};
use crate::statistics::{Estimate, Spread, bootstrap95, growth_exponent};
use crate::{Completer, EvalError};
use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};

/// What to time.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Prompt lengths, in tokens; at least two.
    pub lengths: Vec<usize>,
    /// Attention modes.
    pub attention: Vec<AttentionMode>,
    /// Rounds.
    pub runs: usize,
    /// What sparse attention aims at.
    pub goal: Goal,
}

/// Growth of one attention mode between two lengths. All intervals resample rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Attention mode.
    pub attention: AttentionMode,
    /// Shorter length, tokens.
    pub from: usize,
    /// Longer length.
    pub to: usize,
    /// Median time to first token at the shorter length.
    pub from_ms: f64,
    /// At the longer length.
    pub to_ms: f64,
    /// Time that a thousand further tokens take.
    pub gradient_ms: Estimate,
    /// The gradient over dense's, of the same rounds; absent when dense was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_vs_dense: Option<Estimate>,
    /// Exponent of the growth; over the whole range the best fit of all lengths.
    pub exponent: Estimate,
    /// Rounds.
    pub n: usize,
}

/// Times of one mode: for each length those of the rounds.
struct Timed {
    attention: AttentionMode,
    by_length: Vec<Vec<f64>>,
}

impl Growth {
    /// Times everything; `done` is told after each run, of `lengths x attention x runs`. For each mode one row for
    /// each two neighbouring lengths, then one for the whole range.
    ///
    /// # Errors
    /// When there is nothing to time, too few rounds, a length beyond the model's context, or the engine refuses.
    pub fn run(&self, model: &mut impl Completer, done: &mut dyn FnMut()) -> Result<Vec<Row>, EvalError> {
        check_rounds(self.runs)?;
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        lengths.dedup();
        for (too_few, what) in [
            (lengths.len() < 2, "the list of two or more different lengths"),
            (self.attention.is_empty(), "the list of attention modes"),
        ] {
            if too_few {
                return Err(EvalError::Nothing(what));
            }
        }
        let cases: Vec<Case> =
            lengths.iter().flat_map(|&length| self.attention.iter().map(move |&mode| (length, mode))).collect();
        let stats = Interleaved::new(model, &lengths, self.goal, None)?.time(&cases, self.runs, done)?;
        let timed: Vec<Timed> = (self.attention.iter().enumerate())
            .map(|(n, &attention)| {
                let by_length = stats.iter().skip(n).step_by(self.attention.len()).map(|runs| ttft_ms(runs)).collect();
                Timed { attention, by_length }
            })
            .collect();
        let dense = timed.iter().find(|timed| timed.attention == AttentionMode::Dense);
        let mut rows = Vec::new();
        for timed in &timed {
            let beside = dense.filter(|dense| dense.attention != timed.attention);
            let last = lengths.len() - 1;
            let ranges = (0..last).map(|n| n..n + 1).chain((last > 1).then_some(0..last));
            rows.extend(ranges.map(|range| self.row(&lengths, timed, beside, range)));
        }
        Ok(rows)
    }

    fn row(&self, lengths: &[usize], timed: &Timed, dense: Option<&Timed>, range: std::ops::Range<usize>) -> Row {
        let (from, to) = (lengths[range.start], lengths[range.end]);
        let thousands = (to - from) as f64 / 1000.0;
        let gradient = |timed: &Timed, rounds: &[usize]| {
            (timed.median(range.end, rounds) - timed.median(range.start, rounds)) / thousands
        };
        let exponent = |rounds: &[usize]| {
            growth_exponent((range.start..=range.end).map(|n| (lengths[n] as f64, timed.median(n, rounds))))
        };
        let all: Vec<usize> = (0..self.runs).collect();
        Row {
            attention: timed.attention,
            from,
            to,
            from_ms: timed.median(range.start, &all),
            to_ms: timed.median(range.end, &all),
            gradient_ms: bootstrap95(self.runs, |rounds| gradient(timed, rounds)),
            gradient_vs_dense: dense
                .map(|dense| bootstrap95(self.runs, |rounds| gradient(timed, rounds) / gradient(dense, rounds))),
            exponent: bootstrap95(self.runs, exponent),
            n: self.runs,
        }
    }
}

impl Timed {
    fn median(&self, length: usize, rounds: &[usize]) -> f64 {
        Spread::of(rounds.iter().map(|&round| self.by_length[length][round])).map_or(f64::NAN, |spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted_times::ScriptedTimes;
    use super::*;
    use AttentionMode::{Dense, Sparse};

    #[test]
    fn growth_of_power_laws_is_recovered() {
        let mut model = ScriptedTimes::new(|length, attention, run| {
            let exponent = if attention == Sparse { 1.0 } else { 2.0 };
            1e-3 * (length as f64).powf(exponent) * (1.0 + 0.002 * (run % 3) as f64)
        });
        let bench =
            Growth { lengths: vec![4000, 1000, 2000], attention: vec![Dense, Sparse], runs: 5, goal: Goal::default() };
        let mut heard = 0;
        let rows = bench.run(&mut model, &mut || heard += 1).unwrap();
        assert_eq!(heard, 30);
        let ranges: Vec<_> = rows.iter().map(|row| (row.attention, row.from, row.to)).collect();
        let of = |mode| [(mode, 1000, 2000), (mode, 2000, 4000), (mode, 1000, 4000)];
        assert_eq!(ranges, [of(Dense), of(Sparse)].concat());
        let close =
            |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 0.02, "{value}, not {expected}");
        for row in &rows {
            close(row.exponent.value, if row.attention == Sparse { 1.0 } else { 2.0 });
            assert!(row.exponent.ci95[0] <= row.exponent.value && row.exponent.value <= row.exponent.ci95[1]);
        }
        // From 1,000 to 2,000 tokens dense goes from 1 s to 4 s, sparse from 1 ms to 2 ms.
        close(rows[0].gradient_ms.value, 3000.0);
        close(rows[3].gradient_ms.value, 1.0);
        close(rows[3].gradient_vs_dense.unwrap().value, 1.0 / 3000.0);
        assert_eq!(rows[0].gradient_vs_dense, None);
    }

    #[test]
    fn refuses_what_cannot_be_timed() {
        let base = Growth { lengths: vec![100, 200], attention: vec![Dense], runs: 3, goal: Goal::default() };
        let run = |bench: Growth| bench.run(&mut ScriptedTimes::new(|_, _, _| 1.0), &mut || {}).unwrap_err();
        assert!(matches!(run(Growth { lengths: vec![100, 100], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Growth { attention: vec![], ..base.clone() }), EvalError::Nothing(_)));
        assert!(matches!(run(Growth { runs: 0, ..base }), EvalError::TooFewRounds { .. }));
    }
}
