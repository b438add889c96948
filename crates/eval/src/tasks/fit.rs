//! How much text makes a prompt of so many tokens.

use crate::EvalError;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Estimates grow at most so many times from one try to the next: a text that was reckoned too cheap costs little.
const LARGEST_STEP: usize = 16;
/// Counts that are tried by estimate; a text that is unlike its estimate is halved or doubled from then on.
const GUESSES: usize = 6;
/// Text that should have so many tokens more, and has none, is cut off somewhere.
const VISIBLE_TOKENS: usize = 16;

/// A count out of `counts` with at most `limit` tokens, where the next one has more: the largest such count, where more text
/// never has fewer tokens. `tokens` is asked about twice at the limit where `estimate` grows as it does, however much it
/// lacks.
pub(super) fn most(
    limit: usize,
    counts: RangeInclusive<usize>,
    estimate: impl Fn(usize) -> Result<usize, EvalError>,
    tokens: impl Fn(usize) -> Result<usize, EvalError>,
) -> Result<usize, EvalError> {
    let (mut low, last) = counts.into_inner();
    let mut low_tokens = tokens(low)?;
    if low_tokens > limit {
        return Err(EvalError::PromptTooShort { limit, least: low_tokens });
    }
    // The least count that is known to be too much.
    let mut high = None;
    let known = RefCell::new(HashMap::new());
    let estimate = |count| {
        if let Some(&estimated) = known.borrow().get(&count) {
            return Ok(estimated);
        }
        let estimated = estimate(count)?;
        known.borrow_mut().insert(count, estimated);
        Ok::<_, EvalError>(estimated)
    };
    let least = (estimate(low)?, low_tokens);
    let (mut estimated, mut counted) = least;
    for tries in 0.. {
        let most = high.map_or(last, |high: usize| high - 1);
        if low >= most {
            break;
        }
        let next = match high {
            _ if tries < GUESSES => {
                // The estimate at the limit, from the line through the least and the last count that was tried.
                let rise = (estimated as f64 - least.0 as f64) / (counted as f64 - least.1 as f64);
                let rise = if rise.is_finite() && rise > 0.0 { rise } else { 1.0 };
                let aim = estimated as f64 + (limit as f64 - counted as f64) * rise;
                // A piece of text has a token at least: what an estimate makes of more is its fault.
                largest(aim.round() as usize, low, most.min(low.saturating_add(limit + 1)), &estimate)?
            }
            Some(high) => low + (high - low) / 2,
            None => low.saturating_mul(2),
        };
        let next = next.clamp(low + 1, most);
        let low_estimated = estimate(low)?;
        (estimated, counted) = (estimate(next)?, tokens(next)?);
        if counted > limit {
            high = Some(next);
            continue;
        }
        if counted <= low_tokens && estimated >= low_estimated + VISIBLE_TOKENS {
            return Err(EvalError::PromptDoesNotGrow { limit, tokens: counted });
        }
        (low, low_tokens) = (next, counted);
    }
    match high {
        Some(_) => Ok(low),
        None => Err(EvalError::SourceUsedUp { limit, tokens: low_tokens }),
    }
}

/// The largest count from `low` to `last` of at most `limit`, where sizes grow; `low` where none is.
fn largest(
    limit: usize,
    mut low: usize,
    last: usize,
    size: &impl Fn(usize) -> Result<usize, EvalError>,
) -> Result<usize, EvalError> {
    let mut low_size = size(low)?;
    let mut step = 1;
    let (mut high, mut high_size) = loop {
        if low >= last || low_size > limit {
            return Ok(low);
        }
        let next = low.saturating_add(step).min(last);
        let next_size = size(next)?;
        if next_size > limit {
            break (next, next_size);
        }
        if next_size <= low_size {
            return Ok(next);
        }
        // A little further than where the limit should be.
        let guess = (next - low) * (limit - next_size) / (next_size - low_size);
        step = (guess + guess / 64 + 1).min(next.saturating_mul(LARGEST_STEP));
        (low, low_size) = (next, next_size);
    };
    // Between them by proportion, which is nearly right where all text is alike; then from there in growing steps until the
    // limit is passed.
    let (mut step, mut upwards) = (0, false);
    while high - low > 1 {
        let between = match (step, upwards) {
            (0, _) => (high - low) * (limit - low_size) / (high_size - low_size),
            (_, true) => step,
            (_, false) => (high - low).saturating_sub(step),
        };
        let middle = low + between.clamp(1, high - low - 1);
        let middle_size = size(middle)?;
        let fits = middle_size <= limit;
        match fits {
            true => (low, low_size) = (middle, middle_size),
            false => (high, high_size) = (middle, middle_size),
        }
        step = match step {
            0 => 1,
            _ if fits == upwards => 2 * step,
            _ => 0,
        };
        upwards = fits;
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    proptest! {
        #[test]
        fn the_next_one_is_too_long(
            per in 1usize..900, fixed in 0usize..500, wave in 0usize..40, least in 0usize..20, over in 0usize..200_000,
            lacks in 0usize..500, percent in 80usize..=125, wrong in any::<u64>(),
        ) {
            // Pieces of different sizes; the sum of the first `count`.
            let tokens = |count: usize| fixed + per * count + (count * count * 7919 % (wave + 1)).min(per - 1);
            let limit = tokens(least) + over;
            let tries_by = |estimate: &dyn Fn(usize) -> usize| {
                let tries = Cell::new(0);
                let found = most(limit, least..=usize::MAX, |count| Ok(estimate(count)), |count| {
                    tries.set(tries.get() + 1);
                    Ok(tokens(count))
                });
                let found = found.unwrap();
                assert!(tokens(found) <= limit && tokens(found + 1) > limit);
                tries.get()
            };
            // The least, the most, and one more.
            prop_assert!(tries_by(&|count| tokens(count) + lacks) <= 3);
            prop_assert!(tries_by(&|count| tokens(count) * percent / 100) <= 9);
            // However wrong.
            prop_assert!(tries_by(&|count| (count as u64 ^ wrong) as usize % 100_000) <= 2 * GUESSES + 40);
            prop_assert!(tries_by(&|_| lacks) <= 2 * GUESSES + 40);
        }
    }

    #[test]
    fn text_that_does_not_suffice_or_fit_is_an_error() {
        let ten = |count: usize| Ok(10 * count);
        assert_eq!(most(95, 1..=20, ten, ten).unwrap(), 9);
        assert!(matches!(most(5, 1..=20, ten, ten), Err(EvalError::PromptTooShort { least: 10, .. })));
        assert!(matches!(most(500, 1..=20, ten, ten), Err(EvalError::SourceUsedUp { tokens: 200, .. })));
        assert_eq!(most(199, 1..=20, ten, ten).unwrap(), 19);
        for cut in [300, 495, 499] {
            for per in [1, 10] {
                let flat = most(500, 1..=usize::MAX, |count| Ok(per * count), |count| Ok((per * count).min(cut)));
                assert!(matches!(flat, Err(EvalError::PromptDoesNotGrow { tokens, .. }) if tokens == cut));
            }
        }
    }
}
