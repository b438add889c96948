//! Times of one piece of work.

use crate::Error;
use crate::device::Device;
use serde::Serialize;

/// Smallest, middle and largest time of a call, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Middle one, the longer of two.
    pub median_ms: f64,
    /// Smallest.
    pub fastest_ms: f64,
    /// Largest.
    pub slowest_ms: f64,
}

/// Runs that pay for code that is loaded and clocks that rise.
const WARM_UPS: usize = 2;

impl Times {
    /// Of times in any order; not a number where there are none.
    pub(super) fn of(mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let nth = |n: usize| times_ms.get(n).copied().unwrap_or(f64::NAN);
        Self {
            median_ms: nth(times_ms.len() / 2),
            fastest_ms: nth(0),
            slowest_ms: nth(times_ms.len().saturating_sub(1)),
        }
    }

    /// Times `work`, which asks the device for something, so many times in a row in every run.
    pub(super) fn measure(
        device: &Device,
        runs: usize,
        in_a_row: usize,
        mut work: impl FnMut() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut times_ms = Vec::new();
        for run in 0..runs.max(1).saturating_add(WARM_UPS) {
            let timer = device.timer()?;
            for _ in 0..in_a_row {
                work()?;
            }
            let elapsed = timer.elapsed_ms()? / in_a_row as f64;
            if run >= WARM_UPS {
                times_ms.push(elapsed);
            }
        }
        Ok(Self::of(times_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_both_ends() {
        let of = |times: &[f64]| Times::of(times.to_vec());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Times { median_ms: 2.0, fastest_ms: 1.0, slowest_ms: 3.0 });
        assert_eq!(of(&[5.0]), Times { median_ms: 5.0, fastest_ms: 5.0, slowest_ms: 5.0 });
        assert!(of(&[]).median_ms.is_nan());
    }
}
