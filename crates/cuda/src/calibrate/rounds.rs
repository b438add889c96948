//! Rounds over everything that is timed.

use crate::Error;
use std::time::{Duration, Instant};

const ROUNDS: std::ops::RangeInclusive<usize> = 3..=15;
/// No further round starts after this time.
const ENOUGH: Duration = Duration::from_millis(1500);

/// Medians over rounds of what `measure` says of each series; every other round runs backwards. The first pays for code that is
/// loaded and for clocks that rise, and does not count.
pub(super) fn medians<const N: usize>(
    series: usize,
    mut measure: impl FnMut(usize) -> Result<[f64; N], Error>,
) -> Result<Vec<[f64; N]>, Error> {
    for n in 0..series {
        measure(n)?;
    }
    let started = Instant::now();
    let mut rounds: Vec<Vec<[f64; N]>> = Vec::new();
    while rounds.len() < *ROUNDS.start() || rounds.len() < *ROUNDS.end() && started.elapsed() < ENOUGH {
        let mut round = vec![[f64::NAN; N]; series];
        for n in 0..series {
            let n = if rounds.len().is_multiple_of(2) { n } else { series - 1 - n };
            round[n] = measure(n)?;
        }
        rounds.push(round);
    }
    let of = |series: usize, time: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[series][time]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((0..series).map(|series| std::array::from_fn(|time| of(series, time))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_its_own_median_and_the_first_round_does_not_count() {
        let mut asked = Vec::new();
        let found = medians(3, |series| {
            let early = if asked.len() < 3 { 1000.0 } else { 0.0 };
            let outlier = if asked.len() == 4 { 50.0 } else { 0.0 };
            asked.push(series);
            Ok([series as f64 + early + outlier, -(series as f64)])
        });
        assert_eq!(found.unwrap(), [[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]]);
        assert_eq!(asked[..9], [0, 1, 2, 0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn an_error_ends_it() {
        let mut asked = 0;
        let error = medians::<1>(3, |_| {
            asked += 1;
            Err(Error::NoDriver)
        });
        assert_eq!((error, asked), (Err(Error::NoDriver), 1));
    }
}
