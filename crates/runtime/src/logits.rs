//! Rows of logits: whether all are numbers, and which is the largest.

/// Lanes that compilers make vectors of.
const LANES: usize = 16;

/// Whether logits say something of every token.
pub(crate) fn are_numbers(logits: &[f32]) -> bool {
    // Without a way out in between, which would take one after the other.
    logits.iter().fold(true, |all, logit| all & logit.is_finite())
}

/// The lowest id of the largest logit of a row in pieces, and that logit. NaN is not looked at; where there is nothing else, or infinities
/// below 0 alone, so is the logit, and the id says nothing.
pub(crate) fn most_likely<'a>(pieces: impl Iterator<Item = &'a [f32]> + Clone) -> (u32, f32) {
    let top = pieces.clone().map(largest).fold(f32::NEG_INFINITY, f32::max);
    let mut first = 0;
    for piece in pieces {
        if let Some(at) = piece.iter().position(|logit| *logit == top) {
            return ((first + at) as u32, top);
        }
        first += piece.len();
    }
    (0, top)
}

fn largest(logits: &[f32]) -> f32 {
    let mut of_lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for logits in whole.iter().chain([&last]) {
        for (largest, &logit) in of_lanes.iter_mut().zip(logits) {
            *largest = if logit > *largest { logit } else { *largest };
        }
    }
    of_lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_that_is_no_number_is_seen_anywhere() {
        for len in [1, 15, 16, 17, 100] {
            for at in 0..len {
                for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut logits = vec![1.0; len];
                    assert!(are_numbers(&logits));
                    logits[at] = wrong;
                    assert!(!are_numbers(&logits), "{wrong} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_nothing_has_no_largest() {
        for logits in [&[f32::NAN; 20][..], &[f32::NEG_INFINITY; 3], &[]] {
            assert!(!most_likely(std::iter::once(logits)).1.is_finite());
        }
    }

    proptest! {
        #[test]
        fn the_first_of_the_largest_whatever_the_pieces(
            logits in prop::collection::vec(prop_oneof![8 => (-3i8..3).prop_map(f32::from), 1 => Just(f32::NAN)], 1..200),
            piece in 1usize..70,
        ) {
            let (id, top) = most_likely(logits.chunks(piece));
            let mut expected = None;
            for (at, logit) in logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan()) {
                if expected.is_none_or(|(_, best)| *logit > best) {
                    expected = Some((at as u32, *logit));
                }
            }
            match expected {
                Some(expected) => prop_assert_eq!((id, top), expected),
                None => prop_assert!(!top.is_finite()),
            }
        }
    }
}
