//! From which length on is sparse prefill faster than dense? (The paper's first open question.)
//!
//! Both modes are timed over a grid of lengths, each twice the one before, then at lengths between the two grid points
//! where the answer lies. The ratio of times is taken round by round; between lengths its logarithm is interpolated along the
//! logarithm of the length, which is exact for two power laws.

use super::interleaved::{Interleaved, check_rounds, ttft_ms};
use super::overhead::{median_ratio, paired_ratio};
use crate::statistics::{Estimate, Spread, bootstrap95_by};
use crate::{Completer, EvalError};
use attention::BLOCK_N;
use runtime::request::{AttentionMode, Goal, RunStats};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What to time.
#[derive(Clone, Debug)]
pub struct Crossover {
    /// Shortest length, in tokens.
    pub from: usize,
    /// Longest length.
    pub to: usize,
    /// Lengths tried between the two of the grid that hold the answer between them.
    pub refinements: usize,
    /// Rounds at each length.
    pub runs: usize,
    /// Sparse counts as faster when it saves this share of dense's time. Where the engine does not search, both modes run
    /// the same code and their ratio is noise around one: a gain above that noise keeps it from deciding.
    pub gain: f64,
    /// What sparse attention aims at.
    pub goal: Goal,
    /// Name and content of a text whose beginnings are the prompts; filler without one.
    pub text: Option<(String, String)>,
}

/// Where sparse begins to be faster, and stays it up to the longest length.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakEven {
    /// It is at every length timed.
    EveryLength,
    /// From so many tokens on.
    Tokens(f64),
    /// It is not at the longest length timed.
    None,
}

/// Both modes at one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Tokens of the prompt.
    pub length: usize,
    /// Time to first token, dense.
    pub dense_ms: Spread,
    /// Time to first token, sparse.
    pub sparse_ms: Spread,
    /// Time of sparse over dense's in the same round, median over rounds; the interval resamples rounds.
    pub ratio: Estimate,
    /// Computed pairs over causal pairs of sparse: 1 where the search did not run.
    pub density: f64,
}

/// The answer, and what it rests on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The answer; its interval resamples rounds.
    pub break_even: Estimate<BreakEven>,
    /// Share of dense's time that had to be saved.
    pub gain: f64,
    /// Rounds at each length.
    pub n: usize,
    /// Lengths timed, ascending.
    pub points: Vec<Point>,
}

/// Lengths this close together are not told apart further.
const CLOSE: f64 = 1.1;

impl Crossover {
    /// Lengths of the grid, ascending: `from` doubled while below `to`, and `to`.
    pub fn grid(&self) -> Vec<usize> {
        let doubled = std::iter::successors(Some(self.from), |length| length.checked_mul(2));
        let mut lengths: Vec<usize> = doubled.take_while(|length| *length < self.to).collect();
        lengths.push(self.to);
        lengths
    }

    /// Runs that there will be at most.
    pub fn most_runs(&self) -> usize {
        2 * self.runs * (self.grid().len() + self.refinements)
    }

    /// Times everything; `done` is told after each run.
    ///
    /// # Errors
    /// When there is nothing to time, too few rounds, a length beyond the model's context, or the engine refuses.
    pub fn run(&self, model: &mut impl Completer, done: &mut dyn FnMut()) -> Result<Outcome, EvalError> {
        check_rounds(self.runs)?;
        if self.from == 0 || self.from >= self.to {
            return Err(EvalError::NoLengths { from: self.from, to: self.to });
        }
        let grid = self.grid();
        let mut timing = Interleaved::new(model, &grid, self.goal, self.text.as_ref())?;
        let mut timed = self.time(&mut timing, &grid, done)?;
        for _ in 0..self.refinements {
            let Some(length) = self.between(&timed) else { break };
            timed.extend(self.time(&mut timing, &[length], done)?);
            timed.sort_by_key(|timed| timed.length);
        }
        let break_even = bootstrap95_by(
            self.runs,
            |rounds| self.break_even(&timed, rounds),
            |a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal),
        );
        Ok(Outcome { break_even, gain: self.gain, n: self.runs, points: timed.iter().map(Timed::point).collect() })
    }

    fn time<M: Completer>(
        &self,
        timing: &mut Interleaved<M>,
        lengths: &[usize],
        done: &mut dyn FnMut(),
    ) -> Result<Vec<Timed>, EvalError> {
        let modes = [AttentionMode::Dense, AttentionMode::Sparse];
        let cases: Vec<_> = lengths.iter().flat_map(|&length| modes.map(|mode| (length, mode))).collect();
        let stats = timing.time(&cases, self.runs, done)?;
        Ok(lengths.iter().zip(stats.chunks_exact(2)).map(|(&length, runs)| Timed::new(length, runs)).collect())
    }

    /// Of the middle of each length's ratios over some rounds.
    fn break_even(&self, timed: &[Timed], rounds: &[usize]) -> BreakEven {
        let ratios: Vec<(f64, f64)> = timed.iter().map(|timed| (timed.length as f64, timed.ratio(rounds))).collect();
        break_even(&ratios, 1.0 - self.gain)
    }

    /// A whole number of blocks between the two lengths that hold the answer between them.
    fn between(&self, timed: &[Timed]) -> Option<usize> {
        let rounds: Vec<usize> = (0..self.runs).collect();
        let BreakEven::Tokens(tokens) = self.break_even(timed, &rounds) else { return None };
        let after = timed.iter().position(|timed| timed.length as f64 >= tokens)?.max(1);
        let (low, high) = (timed[after - 1].length as f64, timed[after].length as f64);
        let middle = ((low * high).sqrt() / BLOCK_N as f64).round() * BLOCK_N as f64;
        (high / low > CLOSE && low < middle && middle < high).then_some(middle as usize)
    }
}

/// Where the ratio falls below `threshold` for good, of (length, ratio) with ascending lengths.
fn break_even(ratios: &[(f64, f64)], threshold: f64) -> BreakEven {
    let above = |ratio: f64| (ratio / threshold).ln();
    match ratios.iter().rposition(|&(_, ratio)| above(ratio) >= 0.0) {
        None => BreakEven::EveryLength,
        Some(last) if last + 1 == ratios.len() => BreakEven::None,
        Some(last) => {
            let ((low, from), (high, to)) = (ratios[last], ratios[last + 1]);
            let part = above(from) / (above(from) - above(to));
            BreakEven::Tokens(low * (high / low).powf(part))
        }
    }
}

/// Times of one length, by round.
struct Timed {
    length: usize,
    dense_ms: Vec<f64>,
    sparse_ms: Vec<f64>,
    density: f64,
}

impl Timed {
    /// Of the runs of dense and of sparse.
    fn new(length: usize, runs: &[Vec<RunStats>]) -> Self {
        let density = Spread::of(runs[1].iter().map(|run| run.density)).expect("some rounds").median;
        Self { length, dense_ms: ttft_ms(&runs[0]), sparse_ms: ttft_ms(&runs[1]), density }
    }

    fn ratio(&self, rounds: &[usize]) -> f64 {
        median_ratio(&self.sparse_ms, &self.dense_ms, rounds)
    }

    fn point(&self) -> Point {
        Point {
            length: self.length,
            dense_ms: Spread::of(self.dense_ms.iter().copied()).expect("some rounds"),
            sparse_ms: Spread::of(self.sparse_ms.iter().copied()).expect("some rounds"),
            ratio: paired_ratio(&self.sparse_ms, &self.dense_ms),
            density: self.density,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted_times::ScriptedTimes;
    use super::*;
    use proptest::prelude::*;

    const BENCH: Crossover =
        Crossover { from: 256, to: 16384, refinements: 3, runs: 5, gain: 0.0, goal: Goal::Recall(0.98), text: None };

    fn run(bench: &Crossover, sparse_over_dense: impl Fn(f64) -> f64) -> Outcome {
        let mut model = ScriptedTimes::new(|length, attention, run| {
            let jitter = 1.0 + 0.01 * ((run * 7) % 5) as f64;
            let ratio = if attention == AttentionMode::Sparse { sparse_over_dense(length as f64) } else { 1.0 };
            length as f64 * ratio * jitter
        });
        let mut runs = 0;
        let outcome = bench.run(&mut model, &mut || runs += 1).unwrap();
        assert!(runs <= bench.most_runs() && runs == 2 * bench.runs * outcome.points.len());
        outcome
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_crossover_of_two_power_laws_is_found(crossing in 300f64..16000.0, exponent in 0.2f64..1.5) {
            let outcome = run(&BENCH, |length| (length / crossing).powf(-exponent));
            let BreakEven::Tokens(tokens) = outcome.break_even.value else { panic!("{outcome:?}") };
            // Jitter of 4% either way, divided by how fast the ratio falls.
            let slack = 0.05 / exponent;
            prop_assert!((tokens / crossing).ln().abs() < slack, "{tokens} for {crossing}");
            let [low, high] = outcome.break_even.ci95;
            prop_assert!(low <= outcome.break_even.value && outcome.break_even.value <= high);
        }
    }

    #[test]
    fn it_may_be_nowhere_or_everywhere() {
        assert_eq!(run(&BENCH, |_| 1.2).break_even, Estimate { value: BreakEven::None, ci95: [BreakEven::None; 2] });
        assert_eq!(run(&BENCH, |_| 0.5).break_even.value, BreakEven::EveryLength);
        assert_eq!(BENCH.grid(), [256, 512, 1024, 2048, 4096, 8192, 16384]);
        assert_eq!(Crossover { from: 100, to: 700, ..BENCH }.grid(), [100, 200, 400, 700]);
    }

    #[test]
    fn noise_around_one_does_not_decide() {
        // Up to 2,000 tokens both run the same code.
        let bench = Crossover { gain: 0.06, ..BENCH };
        let outcome = run(&bench, |length| if length < 2000.0 { 1.0 } else { (length / 2000.0).powf(-0.5) });
        let [BreakEven::Tokens(low), BreakEven::Tokens(high)] = outcome.break_even.ci95 else { panic!("{outcome:?}") };
        assert!(low > 1900.0 && high < 3000.0, "{outcome:?}");
    }

    #[test]
    fn a_dip_before_the_last_loss_is_no_break_even() {
        let ratios = [(100.0, 0.5), (200.0, 2.0), (400.0, 0.5)];
        let BreakEven::Tokens(tokens) = break_even(&ratios, 1.0) else { panic!() };
        assert!((tokens - 200.0 * 2f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn json_says_which_of_the_three_it_is() {
        let json = |value| serde_json::to_string(&value).unwrap();
        assert_eq!(json(BreakEven::EveryLength), r#""every_length""#);
        assert_eq!(json(BreakEven::Tokens(1234.5)), r#"{"tokens":1234.5}"#);
        assert_eq!(json(BreakEven::None), r#""none""#);
    }

    #[test]
    fn refuses_what_cannot_be_timed() {
        let run = |bench: Crossover| bench.run(&mut ScriptedTimes::new(|_, _, _| 1.0), &mut || {}).unwrap_err();
        assert!(matches!(run(Crossover { from: 0, ..BENCH }), EvalError::NoLengths { .. }));
        assert!(matches!(run(Crossover { from: 99999, ..BENCH }), EvalError::NoLengths { .. }));
        assert!(matches!(run(Crossover { runs: 1, ..BENCH }), EvalError::TooFewRounds { .. }));
        assert!(matches!(run(Crossover { to: 1 << 20, ..BENCH }), EvalError::BeyondContext { .. }));
    }
}
