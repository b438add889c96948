//! The places of the largest values.

/// Places of the `count` largest values, ascending; of equal values the first. NaN counts as large.
pub(super) fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    if count < places.len() {
        places.select_nth_unstable_by(count, |&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
        places.truncate(count);
        places.sort_unstable();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::largest;

    #[test]
    fn keeps_the_largest_and_of_equals_the_first() {
        let values = [1.0, 3.0, 2.0, 3.0, f32::INFINITY, 2.0];
        let expected: [&[usize]; 5] = [&[], &[4], &[1, 4], &[1, 3, 4], &[1, 2, 3, 4]];
        for (count, places) in expected.into_iter().enumerate() {
            assert_eq!(largest(&values, count), places);
        }
        assert_eq!(largest(&values, usize::MAX), [0, 1, 2, 3, 4, 5]);
        assert!(largest(&[], 3).is_empty());
    }
}
