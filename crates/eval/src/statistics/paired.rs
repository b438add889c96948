//! Tests of paired differences, and of many tests together.

/// Exact two-sided permutation test of paired differences (Fisher 1935): the probability that their sum, each with the sign of
/// a fair coin, is at least as far from 0 as theirs. Where every difference is -1, 0 or 1 it is the
/// [exact sign test](super::exact_sign_test).
///
/// ```
/// use eval::statistics::exact_sign_flip_test;
/// assert_eq!(exact_sign_flip_test(&[]), 1.0);
/// assert_eq!(exact_sign_flip_test(&[1, 0, 1, 1, 1, 1]), 0.0625);
/// // Of the eight sums of 1, 2 and 4 with signs, two are 7 from 0, two 5, and the others nearer.
/// assert_eq!(exact_sign_flip_test(&[-1, 2, 4]), 0.5);
/// ```
pub fn exact_sign_flip_test(differences: &[i64]) -> f64 {
    let sizes: Vec<usize> = differences.iter().map(|difference| difference.unsigned_abs() as usize).collect();
    // The sum is what stands on the positive side, twice, less the sum of all sizes.
    let total: usize = sizes.iter().sum();
    let mut positive = vec![0.0; total + 1];
    positive[0] = 1.0;
    let mut reached = 0;
    for size in sizes {
        reached += size;
        for sum in (0..=reached).rev() {
            let with = if sum >= size { positive[sum - size] } else { 0.0 };
            positive[sum] = (positive[sum] + with) / 2.0;
        }
    }
    let own = differences.iter().sum::<i64>().unsigned_abs() as usize;
    let is_as_far = |sum: usize| (2 * sum).abs_diff(total) >= own;
    let p: f64 = positive.iter().enumerate().filter(|(sum, _)| is_as_far(*sum)).map(|(_, p)| p).sum();
    p.min(1.0)
}

/// Probabilities of tests that are read together, corrected by Holm's method (1979): below 0.05 in any of them by chance in at
/// most 5 of 100 families.
///
/// ```
/// use eval::statistics::holm;
/// assert_eq!(holm(&[0.01, 0.5, 0.02]), [0.03, 0.5, 0.04]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (before, test) in order.into_iter().enumerate() {
        least = least.max(p_values[test] * (p_values.len() - before) as f64).min(1.0);
        corrected[test] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::exact_sign_test;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sign_is_counted(differences in prop::collection::vec(-10i64..=10, 0..12)) {
            let own = differences.iter().sum::<i64>().abs();
            let as_far = (0u32..1 << differences.len()).filter(|signs| {
                let sum: i64 = differences.iter().enumerate().map(|(n, d)| if signs >> n & 1 == 1 { -d } else { *d }).sum();
                sum.abs() >= own
            });
            let share = as_far.count() as f64 / f64::from(1u32 << differences.len());
            prop_assert!((exact_sign_flip_test(&differences) - share).abs() < 1e-9);
        }

        #[test]
        fn of_ones_it_is_the_sign_test(lost in 0usize..200, won in 0usize..200, same in 0usize..50) {
            let differences = [vec![-1; lost], vec![1; won], vec![0; same]].concat();
            prop_assert!((exact_sign_flip_test(&differences) - exact_sign_test(lost, won)).abs() < 1e-9);
        }

        #[test]
        fn corrections_keep_the_order_and_make_nothing_likelier(p_values in prop::collection::vec(0.0f64..=1.0, 0..20)) {
            let corrected = holm(&p_values);
            for (a, p) in p_values.iter().enumerate() {
                prop_assert!(corrected[a] >= *p && corrected[a] <= 1.0);
                prop_assert!(p_values.iter().enumerate().all(|(b, q)| p > q || corrected[a] <= corrected[b]));
            }
        }
    }
}
