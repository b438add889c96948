//! How much text makes a prompt of so many tokens.

use crate::EvalError;
use std::ops::RangeInclusive;

/// Text grows at most so many times from one try to the next: one that was counted too cheap costs little.
const LARGEST_STEP: usize = 16;

/// A count out of `counts` with at most `limit` tokens, where the next one has more: the largest such count, where more text
/// never has fewer tokens.
pub(super) fn most(
    limit: usize,
    counts: RangeInclusive<usize>,
    tokens: impl Fn(usize) -> Result<usize, EvalError>,
) -> Result<usize, EvalError> {
    let last = *counts.end();
    let (mut low, mut low_tokens) = (*counts.start(), tokens(*counts.start())?);
    if low_tokens > limit {
        return Err(EvalError::PromptTooShort { limit, least: low_tokens });
    }
    let mut step = 8;
    let (mut high, mut high_tokens) = loop {
        if low >= last {
            return Err(EvalError::SourceUsedUp { limit, tokens: low_tokens });
        }
        let next = low.saturating_add(step).min(last);
        let next_tokens = tokens(next)?;
        if next_tokens > limit {
            break (next, next_tokens);
        }
        if next_tokens <= low_tokens {
            return Err(EvalError::PromptDoesNotGrow { limit, tokens: next_tokens });
        }
        // A little further than where the limit should be.
        let guess = (next - low) * (limit - next_tokens) / (next_tokens - low_tokens);
        step = (guess + guess / 64 + 8).min(next.saturating_mul(LARGEST_STEP));
        (low, low_tokens) = (next, next_tokens);
    };
    // Between them by proportion, which is nearly right where all text is alike, and every other time by halves.
    let mut by_halves = false;
    while high - low > 1 {
        let between =
            if by_halves { (high - low) / 2 } else { (high - low) * (limit - low_tokens) / (high_tokens - low_tokens) };
        by_halves = !by_halves;
        let middle = low + between.clamp(1, high - low - 1);
        let middle_tokens = tokens(middle)?;
        match middle_tokens <= limit {
            true => (low, low_tokens) = (middle, middle_tokens),
            false => (high, high_tokens) = (middle, middle_tokens),
        }
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
        ) {
            // Pieces of different sizes; the sum of the first `count`.
            let tokens = |count: usize| fixed + per * count + (count * count * 7919 % (wave + 1)).min(per - 1);
            let limit = tokens(least) + over;
            let tries = Cell::new(0);
            let found = most(limit, least..=usize::MAX, |count| {
                tries.set(tries.get() + 1);
                Ok(tokens(count))
            });
            let found = found.unwrap();
            prop_assert!(tokens(found) <= limit && tokens(found + 1) > limit);
            prop_assert!(tries.get() < 45, "{} tries", tries.get());
        }
    }

    #[test]
    fn text_that_does_not_suffice_or_fit_is_an_error() {
        let ten = |count: usize| Ok(10 * count);
        assert_eq!(most(95, 1..=20, ten).unwrap(), 9);
        assert!(matches!(most(5, 1..=20, ten), Err(EvalError::PromptTooShort { least: 10, .. })));
        assert!(matches!(most(500, 1..=20, ten), Err(EvalError::SourceUsedUp { tokens: 200, .. })));
        assert_eq!(most(199, 1..=20, ten).unwrap(), 19);
        let flat = most(500, 1..=usize::MAX, |count| Ok(count.min(300)));
        assert!(matches!(flat, Err(EvalError::PromptDoesNotGrow { tokens: 300, .. })));
    }
}
