//! A 95% interval for the mean of something between 0 and 1, of few draws and whatever distribution.

/// A drawn row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Share of its attention that was kept.
    pub kept: f64,
    /// Queries that it stands for: those among which it was drawn.
    pub queries: f64,
}

/// Either bound is wrong in at most so many cases of one.
const ERROR: f64 = 0.025;
/// Stakes for the lower bound. Most rows keep nearly all, so that only high ones tell much; the lower ones are for draws among which
/// a row keeps nearly nothing.
const FOR_MORE: [f64; 3] = [0.9375, 0.5, 0.125];
/// Stakes for the upper bound, which bet on what is dropped: a small mean, far from even.
const FOR_LESS: [f64; 4] = [0.5, 0.1875, 0.0625, 0.03125];
/// How close the bounds are computed; they err to the wide side.
const PRECISION: f64 = 1e-5;

/// Mean and 95% interval of the mean over all queries; 1 where nothing was drawn.
///
/// The interval is one of bets (I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal
/// of the Royal Statistical Society B 86, 2024): whoever bets a fixed share of what is left on every row to be above `m` wins nothing in
/// the mean where the mean is `m`, so that a fortune of `1 / error` is as rare as `error` (Ville, Markov), and such `m` are ruled out.
/// That holds for any distribution and any number of rows. It holds for rows drawn one from each part, too: the mean fortune is then
/// a product of factors whose mean is 1, at most 1 as geometric means are below arithmetic ones.
pub fn interval95(rows: &[Row]) -> (f64, [f64; 2]) {
    let queries: f64 = rows.iter().map(|row| row.queries).sum();
    if rows.is_empty() || queries <= 0.0 {
        return (1.0, [1.0, 1.0]);
    }
    let mean = rows.iter().map(|row| row.kept * row.queries).sum::<f64>() / queries;
    let most = rows.iter().map(|row| row.queries).fold(0.0, f64::max);
    let draws = |of: fn(f64) -> f64| rows.iter().map(|row| (of(row.kept), row.queries / most)).collect::<Vec<_>>();
    let low = lower_bound(&draws(|kept| kept), mean, &FOR_MORE);
    let high = 1.0 - lower_bound(&draws(|kept| 1.0 - kept), 1.0 - mean, &FOR_LESS);
    (mean, [low, high])
}

/// The largest mean below which all are ruled out, of values and their weights, which are at most 1.
fn lower_bound(draws: &[(f64, f64)], mean: f64, stakes: &[f64]) -> f64 {
    // The fortune falls as the mean that is bet against grows.
    let (mut low, mut high) = (0.0, mean.max(0.0));
    while high - low > PRECISION {
        let middle = low.midpoint(high);
        if is_ruled_out(draws, middle, stakes) { low = middle } else { high = middle }
    }
    low
}

/// Whether bets at even parts on each of the stakes win too much for a mean of `m`.
fn is_ruled_out(draws: &[(f64, f64)], m: f64, stakes: &[f64]) -> bool {
    let fortune =
        |stake: &f64| log_product(draws.iter().map(|(value, weight)| 1.0 + stake * weight * (value / m - 1.0)));
    let enough = (stakes.len() as f64 / ERROR).ln();
    // Of the sum of fortunes, without leaving the range of numbers.
    let logs: Vec<f64> = stakes.iter().map(fortune).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln() >= enough
}

/// The logarithm of a product of factors, taken of sixteen at a time: it is what costs.
fn log_product(factors: impl Iterator<Item = f64>) -> f64 {
    let (mut log, mut product) = (0.0, 1.0);
    for (at, factor) in factors.enumerate() {
        // Sixteen factors of a value against a tiny mean leave the range of numbers; those are won long before.
        product *= factor.min(1e18);
        if at % 16 == 15 {
            log += product.ln();
            product = 1.0;
        }
    }
    log + product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::probe::scatter;

    fn even(kept: impl IntoIterator<Item = f64>) -> Vec<Row> {
        kept.into_iter().map(|kept| Row { kept, queries: 1.0 }).collect()
    }

    /// Uniform in `[0, 1)`.
    fn uniform(n: u64) -> f64 {
        (scatter(n) >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn nothing_drawn_is_all_kept() {
        assert_eq!(interval95(&[]), (1.0, [1.0, 1.0]));
    }

    /// Rows that all keep everything leave room for the rare one that was not drawn: at most 1 - 0.025^(1/n) of all, were the stake
    /// all that is left.
    #[test]
    fn perfect_rows_prove_no_perfection() {
        let (mean, [low, high]) = interval95(&even(vec![1.0; 144]));
        assert_eq!((mean, high), (1.0, 1.0));
        let least = 0.025f64.powf(1.0 / 144.0);
        assert!(low < least && low > least - 0.015, "{low}, {least}");
    }

    #[test]
    fn more_rows_and_less_spread_narrow_it() {
        let width = |rows: Vec<Row>| {
            let (mean, [low, high]) = interval95(&rows);
            assert!(low <= mean && mean <= high);
            high - low
        };
        let rows = |n: u64, spread: f64| even((0..n).map(|i| 0.98 - spread * (uniform(i) - 0.5)));
        assert!(width(rows(576, 0.03)) < width(rows(144, 0.03)));
        assert!(width(rows(4320, 0.01)) < width(rows(4320, 0.04)));
        assert!(width(rows(4320, 0.04)) < 0.006);
    }

    /// Skewed as real heads are, or worse: most rows keep nearly all, a few lose nearly all, and heads differ.
    #[test]
    fn it_holds_the_mean_of_skewed_heads() {
        let (heads, rows) = (9, 16);
        let kept = |u: f64, head: usize| 1.0 - if u < 0.004 * head as f64 { 0.9 } else { 0.02 * u };
        let mean_of = |head: usize| (0..100_000).map(|i| kept((i as f64 + 0.5) / 1e5, head)).sum::<f64>() / 1e5;
        let mean = (0..heads).map(mean_of).sum::<f64>() / heads as f64;
        let trials = 1000;
        let held = (0..trials).filter(|trial| {
            let draw = |at: usize| kept(uniform((trial * 10_000 + at) as u64), at / rows);
            let (_, [low, high]) = interval95(&even((0..heads * rows).map(draw)));
            low <= mean && mean <= high
        });
        let held = held.count();
        assert!(held >= 950, "{held} of {trials}");
    }

    /// A row may stand for more queries than another.
    #[test]
    fn rows_weigh_what_they_stand_for() {
        let rows = [Row { kept: 1.0, queries: 300.0 }, Row { kept: 0.6, queries: 100.0 }];
        let (mean, [low, high]) = interval95(&rows);
        assert!((mean - 0.9).abs() < 1e-12 && low < 0.6 && high > 0.99, "{mean} {low} {high}");
    }
}
