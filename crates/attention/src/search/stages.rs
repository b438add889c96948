//! What the stages of the search take.

use std::iter::Sum;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Time of each stage of the search, as the threads that worked on it count: with all of `n` threads busy, `n` times the
/// wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Scores of (q tile, block).
    pub scores: Duration,
    /// Exact softmax of the probe rows.
    pub probes: Duration,
    /// Recall and cost of every candidate.
    pub candidates: Duration,
    /// Choice, and lowering to a plan.
    pub lowering: Duration,
}

impl StageTimes {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.scores + self.probes + self.candidates + self.lowering
    }
}

impl AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.scores += other.scores;
        self.probes += other.probes;
        self.candidates += other.candidates;
        self.lowering += other.lowering;
    }
}

impl Sum for StageTimes {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), |mut sum, times| {
            sum += times;
            sum
        })
    }
}

/// Time since it was last asked.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn lap(&mut self) -> Duration {
        let (last, now) = (self.0, Instant::now());
        self.0 = now;
        now - last
    }
}
