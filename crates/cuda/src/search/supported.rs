//! What the device can search for.

use super::ROW_STRIDE;
use super::arguments::{MOST_COLUMNS, MOST_COUNTS};
use crate::Error;
use attention::pattern::{BlockRule, BlockScore, Selector};
use attention::search::Search;

/// Checks that devices can search for this, before any work starts.
///
/// # Errors
/// When it asks for what only the CPU has.
pub fn check(search: &Search) -> Result<(), Error> {
    let unsupported = |what, expected: String, found: String| Err(Error::Unsupported { what, expected, found });
    let selector = Selector { score: BlockScore::RowPeak { stride: ROW_STRIDE }, rule: BlockRule::Share };
    if search.selector != selector {
        let expected = format!("{selector:?} on a GPU; others run on the CPU");
        return unsupported("selector", expected, format!("{:?}", search.selector));
    }
    check_guarantee(search.guarantee)?;
    let counts = &search.column_counts;
    let fit = counts.first() == Some(&0)
        && counts.len() <= MOST_COUNTS
        && counts.is_sorted_by(|a, b| a < b)
        && counts.iter().all(|count| count.is_multiple_of(64) && *count <= MOST_COLUMNS);
    if !fit || search.families.is_empty() {
        let expected = format!("0, then up to {} ascending multiples of 64 up to {MOST_COLUMNS}", MOST_COUNTS - 1);
        return unsupported("numbers of columns", expected, format!("{counts:?}"));
    }
    Ok(())
}

/// Checks that nothing has to be proven of what plans drop.
///
/// # Errors
/// When something has: only the CPU computes bounds.
pub fn check_guarantee(guarantee: Option<f32>) -> Result<(), Error> {
    let what = "guarantee";
    match guarantee {
        Some(limit) => {
            Err(Error::Unsupported { what, expected: "none on a GPU: run on the CPU".into(), found: limit.to_string() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::search::Target;

    #[test]
    fn what_only_the_cpu_has_is_refused_by_name() {
        let usual = Search::new(Target::Recall(0.9)).unwrap();
        check(&usual).unwrap();
        let refused = |change: &dyn Fn(&mut Search)| {
            let mut search = usual.clone();
            change(&mut search);
            check(&search).unwrap_err().to_string()
        };
        let guarantee = refused(&|search| search.guarantee = Some(0.01));
        assert!(guarantee.contains("on the CPU") && guarantee.contains("0.01"), "{guarantee}");
        let selector = refused(&|search| search.selector.score = BlockScore::Pooled);
        assert!(selector.contains("on the CPU") && selector.contains("Pooled"), "{selector}");
        for counts in [vec![], vec![64], vec![0, 63], vec![0, 64, 64], vec![0, MOST_COLUMNS + 64]] {
            let columns = refused(&|search| search.column_counts = counts.clone());
            assert!(columns.contains("numbers of columns"), "{columns}");
        }
        // Each variant of the ablation runs on a device.
        for family in &usual.families {
            let mut search = usual.clone();
            search.families.retain(|kept| kept != family);
            (search.column_counts, search.centres) = (vec![0], false);
            check(&search).unwrap();
        }
    }
}
