//! Fits of few terms to few times.

/// The terms, none negative, whose sums over the factors of each row come closest to what the row measured, by the squares of
/// relative errors: a short time counts as much as a long one. Not numbers where no fit is.
pub(super) fn non_negative<const N: usize>(rows: &[([f64; N], f64)]) -> [f64; N] {
    let rows: Vec<[f64; N]> = rows.iter().map(|(factors, measured)| factors.map(|factor| factor / measured)).collect();
    let mut best = (f64::INFINITY, [f64::NAN; N]);
    // At the optimum some terms are zero and the rest is a plain fit: with so few terms, all choices can be tried.
    for kept in 1usize..1 << N {
        let Some(terms) = solve(&rows, kept) else { continue };
        let error =
            |row: &[f64; N]| (row.iter().zip(terms).map(|(factor, term)| factor * term).sum::<f64>() - 1.0).powi(2);
        let error: f64 = rows.iter().map(error).sum();
        if terms.iter().all(|term| *term >= 0.0) && error < best.0 {
            best = (error, terms);
        }
    }
    best.1
}

/// The plain fit of the terms whose bits are set in `kept` to rows that should all give 1; the rest are zero.
fn solve<const N: usize>(rows: &[[f64; N]], kept: usize) -> Option<[f64; N]> {
    let terms: Vec<usize> = (0..N).filter(|term| kept >> term & 1 == 1).collect();
    let sum = |of: &dyn Fn(&[f64; N]) -> f64| rows.iter().map(of).sum::<f64>();
    // Factors differ by many orders of magnitude.
    let scales: Vec<f64> = terms.iter().map(|&i| sum(&|row| row[i] * row[i]).sqrt()).collect();
    let mut system: Vec<Vec<f64>> = (terms.iter().zip(&scales))
        .map(|(&i, of_i)| {
            let products = terms.iter().zip(&scales).map(|(&j, of_j)| sum(&|row| row[i] * row[j]) / (of_i * of_j));
            products.chain([sum(&|row| row[i]) / of_i]).collect()
        })
        .collect();
    let n = terms.len();
    for pivot in 0..n {
        let largest = (pivot..n).max_by(|a, b| system[*a][pivot].abs().total_cmp(&system[*b][pivot].abs()))?;
        system.swap(pivot, largest);
        let of_pivot = system[pivot].clone();
        // Nothing tells this term from the others.
        if of_pivot[pivot].is_nan() || of_pivot[pivot].abs() < 1e-10 {
            return None;
        }
        for (_, row) in system.iter_mut().enumerate().filter(|(n, _)| *n != pivot) {
            let times = row[pivot] / of_pivot[pivot];
            row.iter_mut().zip(&of_pivot).for_each(|(value, above)| *value -= times * above);
        }
    }
    let mut solution = [0.0; N];
    for (n, (&term, scale)) in terms.iter().zip(&scales).enumerate() {
        solution[term] = system[n][terms.len()] / system[n][n] / scale;
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-6 * expected.abs().max(1e-9)
    }

    #[test]
    fn exact_times_give_exact_terms() {
        let truth = [3e-3, 0.5, 40.0];
        let factors = [[1e6, 1e3, 1.0], [4e6, 1e3, 1.0], [2e6, 5e3, 1.0], [1e5, 2e1, 1.0]];
        let rows = factors.map(|row| (row, row.iter().zip(truth).map(|(factor, term)| factor * term).sum()));
        let found = non_negative(&rows);
        assert!(found.iter().zip(truth).all(|(found, truth)| near(*found, truth)), "{found:?}");
    }

    #[test]
    fn a_term_that_would_be_negative_is_zero() {
        let found = non_negative(&[([1.0, 1.0], 9.0), ([2.0, 1.0], 19.0), ([3.0, 1.0], 29.0)]);
        assert!(found[1] == 0.0 && (9.0..10.0).contains(&found[0]), "{found:?}");
    }

    #[test]
    fn what_no_row_tells_apart_or_measures_is_no_number_or_zero() {
        let found = non_negative(&[([1.0, 2.0], 5.0), ([2.0, 4.0], 10.0)]);
        assert!(near(found[0] + 2.0 * found[1], 5.0), "{found:?}");
        assert!(non_negative::<2>(&[]).iter().all(|term| term.is_nan()));
        assert!(non_negative(&[([1.0, 2.0], f64::NAN)]).iter().all(|term| term.is_nan()));
    }
}
