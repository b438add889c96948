//! A budget of a whole prompt, spread over its chunks.

use attention::Error;
use attention::search::{Least, Search, Target};
use attention::shape::Tiles;

/// How far a run may be above its budget.
const TOLERANCE: f64 = 1.05;

/// What became of a budget.
pub(super) enum Fit {
    /// A search whose chunks together keep it.
    Fits(Search),
    /// It is below the least that any plan takes.
    Least(LeastOfPrompt),
}

pub(super) struct LeastOfPrompt {
    /// The least as a share of dense attention, rounded up to what is written.
    pub(super) share: f64,
    /// As a multiple of the budget.
    pub(super) over: f64,
}

/// The search for chunks of a prompt, each with how many of its last rows it has.
///
/// Every chunk has a least that no plan is below: that of the first is a large share of its few pairs. The others get less, so
/// that the whole prompt keeps the budget. Where it has no room for them centres are left out, and then the last rows are searched
/// as all others.
pub(super) fn fit(search: &Search, chunks: &[(Tiles, usize)]) -> Result<Fit, Error> {
    let share = match search.target() {
        Target::Recall(_) => return Ok(Fit::Fits(search.clone())),
        Target::Density(share) | Target::Cost(share) => share as f64,
    };
    let mut fitted = search.clone();
    let mut leasts = least_of_chunks(&fitted, chunks)?;
    for leave_out in [|search: &mut Search| search.centres = false, |search: &mut Search| search.last_rows = false] {
        if sum(&leasts, |least| least.sparsest) > share * sum(&leasts, |least| least.dense) {
            leave_out(&mut fitted);
            leasts = least_of_chunks(&fitted, chunks)?;
        }
    }
    let (sparsest, dense) = (sum(&leasts, |least| least.sparsest), sum(&leasts, |least| least.dense));
    let budget = share * dense;
    if sparsest > TOLERANCE * budget {
        let share = (1e3 * sparsest / dense).ceil() / 1e3;
        return Ok(Fit::Least(LeastOfPrompt { share, over: sparsest / budget }));
    }
    let taken = |share: f64| sum(&leasts, |least| least.sparsest.max(share * least.dense));
    let (mut fits, mut over) = (0.0, share);
    if taken(share) <= budget {
        fits = share;
    } else {
        for _ in 0..50 {
            let middle = 0.5 * (fits + over);
            if taken(middle) <= budget { fits = middle } else { over = middle }
        }
    }
    // A share of 0 is no target; this one leaves the least of every chunk as well.
    let fits = (fits as f32).max(1e-6);
    let target = match search.target() {
        Target::Density(_) => Target::Density(fits),
        _ => Target::Cost(fits),
    };
    Ok(Fit::Fits(fitted.with_target(target)?))
}

/// The least of every chunk that a budget is about. Where one is dense because that is fastest, a budget of cost is not.
fn least_of_chunks(search: &Search, chunks: &[(Tiles, usize)]) -> Result<Vec<Least>, Error> {
    let is_cost = matches!(search.target(), Target::Cost(_));
    let concerned = chunks.iter().filter(|(tiles, last_rows)| !is_cost || !search.is_dense(*tiles, *last_rows));
    concerned.map(|&(tiles, last_rows)| search.least(tiles, last_rows)).collect()
}

fn sum(leasts: &[Least], of: impl Fn(&Least) -> f64) -> f64 {
    leasts.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::shape::QueryRange;

    fn chunks(prompt: usize, chunk: usize) -> Vec<(Tiles, usize)> {
        let ends = (0..prompt).step_by(chunk).map(|start| (start, (start + chunk).min(prompt)));
        let of = |(start, end): (usize, usize)| {
            let tiles = QueryRange::new(end - start, end).unwrap().tiles(64).unwrap();
            (tiles, 64usize.saturating_sub(prompt - end))
        };
        ends.map(of).collect()
    }

    fn fitted(share: f32, chunks: &[(Tiles, usize)]) -> Result<Search, f64> {
        match fit(&Search::new(Target::Density(share)).unwrap(), chunks).unwrap() {
            Fit::Fits(search) => Ok(search),
            Fit::Least(least) => Err(least.share),
        }
    }

    #[test]
    fn a_budget_below_the_least_says_the_least_and_the_least_is_kept() {
        for (prompt, chunk) in [(1500, 4096), (3000, 1024), (700, 256), (9000, 512)] {
            let chunks = chunks(prompt, chunk);
            let least = fitted(0.001, &chunks).unwrap_err();
            assert!(least > 0.01 && least < 1.0, "{prompt}: {least}");
            assert!(fitted(least as f32, &chunks).is_ok(), "{prompt}: {least}");
            assert!(fitted(least as f32 / 1.1, &chunks).is_err(), "{prompt}: {least}");
        }
    }

    #[test]
    fn a_prompt_with_nothing_to_drop_has_all_pairs_at_the_least() {
        assert_eq!(fitted(0.9, &chunks(100, 4096)).unwrap_err(), 1.0);
        assert!(fitted(1.0, &chunks(100, 4096)).is_ok());
    }

    #[test]
    fn later_chunks_make_up_for_the_first() {
        let chunks = chunks(4096, 256);
        let Target::Density(share) = fitted(0.2, &chunks).unwrap().target() else { panic!() };
        assert!(share < 0.2 && share > 0.01, "{share}");
        let Target::Density(alone) = fitted(0.2, &chunks[8..15]).unwrap().target() else { panic!() };
        assert_eq!(alone, 0.2, "every chunk has room");
    }

    #[test]
    fn centres_and_then_last_rows_are_left_out_where_they_do_not_fit() {
        let chunks = chunks(8192, 8192);
        let least = fitted(0.001, &chunks).unwrap_err() as f32;
        let has = |share: f32| fitted(share, &chunks).map(|search| (search.centres, search.last_rows)).unwrap();
        assert_eq!(has(least), (false, false));
        assert_eq!(has(1.3 * least + 2.0 * 64.0 / 8192.0), (false, true));
        assert_eq!(has(3.0 * least), (true, true));
    }
}
