//! The little arithmetic that results need.

mod bootstrap;
mod paired;
mod power_law;

use serde::{Deserialize, Serialize};

pub use bootstrap::{Estimate, bootstrap95, bootstrap95_by, ratio95};
pub use paired::{exact_sign_flip_test, holm};
pub use power_law::growth_exponent;

/// Two-sided 95% quantile of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// How many of `n` independent trials came out right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proportion {
    hits: usize,
    n: usize,
}

/// Exact two-sided sign test: the probability that `lost + won` fair coins split at least as unequally as this. On
/// paired outcomes, of which only those that differ count, it is McNemar's exact test.
///
/// ```
/// use eval::statistics::exact_sign_test;
/// assert_eq!(exact_sign_test(0, 0), 1.0);
/// assert_eq!(exact_sign_test(5, 0), 0.0625);
/// assert!((exact_sign_test(1, 7) - 0.0703125).abs() < 1e-12);
/// ```
pub fn exact_sign_test(lost: usize, won: usize) -> f64 {
    let (n, fewer) = (lost + won, lost.min(won));
    // Of exactly k of n, over that of `fewer` of n: from there down to 0, nothing grows but by rounding, and what becomes too
    // small for a number is too small to count.
    let (mut over, mut tail) = (1.0, 0.0);
    for k in (0..=fewer).rev() {
        tail += over;
        over *= k as f64 / (n - k + 1) as f64;
    }
    // Its logarithm, since 0.5 to the power of n is no number above 0 from n = 1075 on.
    let ln_choose: f64 = (0..fewer).map(|k| ((n - k) as f64 / (k + 1) as f64).ln()).sum();
    let ln_exactly = ln_choose - n as f64 * std::f64::consts::LN_2;
    (2.0 * tail * ln_exactly.exp()).min(1.0)
}

impl Proportion {
    /// Counts outcomes.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        outcomes
            .into_iter()
            .fold(Self::default(), |so_far, hit| Self { hits: so_far.hits + usize::from(hit), n: so_far.n + 1 })
    }

    /// Number of hits.
    pub fn hits(&self) -> usize {
        self.hits
    }

    /// Number of trials.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Hits among trials; 0 when there were none.
    pub fn fraction(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.hits as f64 / self.n as f64 }
    }

    /// Wilson score interval at 95% (Wilson 1927): `[low, high]` within `[0, 1]`.
    ///
    /// Unlike the textbook interval it stays honest at 0 and at `n` hits, which is where a passkey score usually is.
    ///
    /// ```
    /// use eval::statistics::Proportion;
    /// let [low, high] = Proportion::of(std::iter::repeat_n(true, 50)).wilson95();
    /// assert!((low - 0.9287).abs() < 1e-4 && high == 1.0);
    /// ```
    pub fn wilson95(&self) -> [f64; 2] {
        if self.n == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (self.n as f64, self.fraction());
        let z2 = Z_95 * Z_95;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        // At the ends the bound is exact; rounding must not put the fraction outside its own interval.
        let low = if self.hits == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.hits == self.n { 1.0 } else { (centre + half).min(1.0) };
        [low, high]
    }
}

/// Smallest, middle and largest of repeated measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle one; the mean of the two middle ones when their number is even.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Spread of `values`, in any order; `None` when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) };
        Some(Self { min, median, max })
    }
}

/// Arithmetic mean; 0 when there are no values.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proportion(hits: usize, n: usize) -> Proportion {
        Proportion::of((0..n).map(|i| i < hits))
    }

    #[test]
    fn wilson_interval_has_the_published_values() {
        // Newcombe 1998, Statistics in Medicine 17, table I, method 3 (Wilson without continuity correction).
        for (hits, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let [l, h] = proportion(hits, n).wilson95();
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{hits}/{n}: [{l}, {h}]");
        }
    }

    #[test]
    fn a_sign_test_of_many_pairs_is_a_number() {
        // Expected: the binomial sums in whole numbers.
        let near = |lost, won, expected: f64| {
            let p = exact_sign_test(lost, won);
            assert!((p / expected - 1.0).abs() < 1e-7, "{lost}, {won}: {p}");
            assert_eq!(p, exact_sign_test(won, lost));
        };
        near(49_500, 50_500, 0.001_582_359_878_851_595_6);
        assert_eq!(exact_sign_test(50_000, 50_000), 1.0);
        // Less than the least number there is.
        assert_eq!((exact_sign_test(0, 100_000), exact_sign_test(100_000, 1)), (0.0, 0.0));
        near(0, 1000, 2.0 * 0.5f64.powi(1000));
        near(1, 1069, 2.0 * 1071.0 * 0.5f64.powi(1035) * 0.5f64.powi(35));
    }

    #[test]
    fn no_trials_say_nothing() {
        assert_eq!(proportion(0, 0).wilson95(), [0.0, 1.0]);
        assert_eq!(Spread::of([]), None);
        assert_eq!(mean([]), 0.0);
    }

    #[test]
    fn median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), Some(Spread { min: 1.0, median: 3.0, max: 100.0 }));
    }

    proptest! {
        #[test]
        fn interval_holds_the_fraction_and_mirrors((n, hits) in (1usize..2000).prop_flat_map(|n| (Just(n), 0..=n))) {
            let p = proportion(hits, n);
            let [low, high] = p.wilson95();
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            prop_assert!(low <= p.fraction() && p.fraction() <= high);
            let [mirrored_low, mirrored_high] = proportion(n - hits, n).wilson95();
            prop_assert!((low - (1.0 - mirrored_high)).abs() < 1e-12);
            prop_assert!((high - (1.0 - mirrored_low)).abs() < 1e-12);
        }

        #[test]
        fn more_trials_narrow_the_interval((n, hits) in (1usize..500).prop_flat_map(|n| (Just(n), 0..=n))) {
            let width = |p: Proportion| { let [low, high] = p.wilson95(); high - low };
            prop_assert!(width(proportion(hits * 4, n * 4)) < width(proportion(hits, n)));
        }

        #[test]
        fn spread_is_ordered_and_half_lies_on_each_side(values in prop::collection::vec(-1e6f64..1e6, 1..60)) {
            let spread = Spread::of(values.iter().copied()).unwrap();
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
            prop_assert!(values.contains(&spread.min) && values.contains(&spread.max));
            prop_assert!(2 * values.iter().filter(|v| **v <= spread.median).count() >= values.len());
            prop_assert!(2 * values.iter().filter(|v| **v >= spread.median).count() >= values.len());
        }
    }
}
