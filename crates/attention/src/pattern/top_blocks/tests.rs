use super::*;
use crate::pattern::synthetic::{Synthetic, dot};
use crate::simd::Simd;
use proptest::prelude::*;

fn mean(rows: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = rows.collect();
    (0..Synthetic::DIM).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn keeps_the_blocks_with_the_highest_pooled_score(
        seed: u64, q_len in 1usize..300, cached in 0usize..900, head in 0usize..4, blocks in 0usize..12,
        block_m in prop::sample::select(vec![64usize, 128, 192]),
    ) {
        let case = Synthetic::new(seed, q_len, cached);
        let (range, tiles) = (case.range, case.tiles(block_m));
        let queries = case.queries(Simd::detect());
        let plan = TopBlocks { blocks }.plan(&queries, &case.kv(), tiles, head, 0, false).unwrap();
        for tile in 0..tiles.num_tiles() {
            let full = tiles.full_blocks(tile);
            let rows = tiles.positions(tile);
            let q = mean(rows.map(|position| case.query(head, position - range.q_start())));
            let score = |block: usize| dot(&q, &mean((block * 64..block * 64 + 64).map(|j| case.key(head, j))));
            let kept: Vec<usize> = plan.blocks(tile).iter().map(|&b| b as usize).filter(|&b| b < full).collect();
            prop_assert!(full == 0 || kept.contains(&0) && kept.contains(&(full - 1)));
            prop_assert!((blocks.min(full)..=blocks + 2).contains(&kept.len()));
            let worst_kept = kept.iter().filter(|&&b| b != 0 && b + 1 != full).map(|&b| score(b));
            let worst_kept = worst_kept.fold(f64::INFINITY, f64::min);
            let best_left = (0..full).filter(|b| !kept.contains(b)).map(score).fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(best_left <= worst_kept + 1e-3, "{best_left} left, {worst_kept} kept");
        }
    }
}
