use super::*;
use crate::pattern::synthetic::{Synthetic, dot};
use proptest::prelude::*;

/// Column and offset mass in f64, straight from the definition.
fn exact(case: &Synthetic, head: usize) -> (Vec<f64>, Vec<f64>) {
    let range = case.range;
    let (mut columns, mut offsets) = (vec![0.0; range.kv_len()], vec![0.0; range.kv_len()]);
    for row in range.q_len().saturating_sub(64)..range.q_len() {
        let position = range.q_start() + row;
        let q = case.query(head, row);
        let weights: Vec<f64> = (0..=position).map(|j| dot(&q, &case.key(head, j)).exp2()).collect();
        let sum: f64 = weights.iter().sum();
        for (j, weight) in weights.iter().enumerate() {
            columns[j] += weight / sum;
            offsets[position - j] += weight / sum;
        }
    }
    (columns, offsets)
}

fn top(mass: &[f64], forced: usize, count: usize) -> f64 {
    let (forced, free) = mass.split_at(forced.min(mass.len()));
    let mut free = free.to_vec();
    free.sort_by(|a, b| b.total_cmp(a));
    forced.iter().chain(free.iter().take(count.saturating_sub(forced.len()))).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn masses_and_choices_are_those_of_the_definition(
        seed: u64, q_len in 1usize..200, cached in 0usize..300, head in 0usize..4,
        columns in 0usize..200, slashes in 0usize..300,
    ) {
        let case = Synthetic::new(seed, q_len, cached);
        let (column_mass, offset_mass) = exact(&case, head);
        for simd in Simd::available() {
            let measured = LastRows::measure(simd, &case.queries(simd), &case.kv(), case.range, head);
            for (got, want) in measured.column_mass.iter().zip(&column_mass) {
                prop_assert!((*got as f64 - want).abs() < 1e-3 * (1.0 + want), "{simd:?}: {got} {want}");
            }
            for (got, want) in measured.offset_mass.iter().zip(&offset_mass) {
                prop_assert!((*got as f64 - want).abs() < 1e-3 * (1.0 + want), "{simd:?}: {got} {want}");
            }

            let pattern = measured.interval_slash(columns, slashes);
            let offsets: Vec<usize> = pattern.slash_offsets.iter().cloned().flatten().collect();
            let kv_len = case.range.kv_len();
            prop_assert_eq!(offsets.len(), slashes.max(100).min(kv_len));
            prop_assert!((0..kv_len.min(100)).all(|near| offsets.contains(&near)));
            // Near ties may fall either way; what they sum to may not.
            let kept: f64 = offsets.iter().map(|&o| offset_mass[o]).sum();
            prop_assert!((kept - top(&offset_mass, 100, slashes)).abs() < 1e-2);
            prop_assert!(pattern.vertical_indices.iter().all(|&column| column >= 64));
            // With the columns of block 0 that were chosen and left out.
            let chosen = best(&measured.column_mass, 30, columns);
            let kept: f64 = chosen.iter().map(|&c| column_mass[c]).sum();
            prop_assert_eq!(chosen.len(), columns.max(30).min(kv_len));
            prop_assert!((kept - top(&column_mass, 30, columns)).abs() < 1e-2);
            prop_assert_eq!(chosen.iter().filter(|&&c| c >= 64).count(), pattern.vertical_indices.len());
        }
    }
}
