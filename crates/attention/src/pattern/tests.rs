use super::*;
use crate::plan::SparsePlan;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange};
use crate::simd::Simd;
use half::bf16;
use proptest::prelude::*;

/// The plan must keep exactly the blocks in which some pair of the tile satisfies `keeps`, and the ones always kept.
fn check(
    range: QueryRange,
    last_rows: usize,
    plan: &SparsePlan,
    keeps: impl Fn(usize, usize) -> bool,
) -> Result<(), TestCaseError> {
    for tile in 0..range.num_tiles() {
        let rows = range.tile_positions(tile);
        let full = (0..range.num_blocks()).filter(|b| 64 * b + 63 <= rows.start).count();
        let sees_all = rows.end + last_rows > range.kv_len();
        for block in 0..range.num_blocks() {
            let future = 64 * block >= rows.end;
            let touched = rows.clone().any(|i| (64 * block..64 * block + 64).any(|j| j <= i && keeps(i, j)));
            let always = block == 0 || block + 1 == full || block >= full || sees_all;
            let want = !future && (touched || always);
            let got = plan.blocks(tile).contains(&(block as u32));
            prop_assert_eq!(got, want, "tile {} block {}", tile, block);
        }
    }
    Ok(())
}

fn ranges() -> impl Strategy<Value = QueryRange> {
    (1usize..400, 0usize..400).prop_map(|(q, cached)| QueryRange::new(q, q + cached).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn triangular_is_its_mask(range in ranges(), sink in 0usize..300, window in 0usize..300, last in 0usize..100) {
        let plan = Triangular { sink, window }.plan(range, last, Vec::new(), false).unwrap();
        check(range, last, &plan, |i, j| j < sink || i - j < window)?;
    }

    #[test]
    fn interval_slash_is_its_mask(
        range in ranges(), last in 0usize..100,
        slashes in prop::collection::vec((0usize..600, 0usize..90), 0..4),
    ) {
        let slash_offsets: Vec<_> = slashes.iter().map(|&(start, len)| start..start + len).collect();
        let keeps = |i: usize, j: usize| slash_offsets.iter().any(|s| s.contains(&(i - j)));
        let vertical_indices: Vec<u32> = (0..range.kv_len() as u32).step_by(37).collect();
        let pattern = IntervalSlash { vertical_indices: vertical_indices.clone(), slash_offsets: slash_offsets.clone() };
        let plan = pattern.plan(range, last, true).unwrap();
        check(range, last, &plan, keeps)?;
        prop_assert_eq!(plan.columns(), &vertical_indices[..]);
    }

    #[test]
    fn intervals_of_distances_touch_those_distances_only(
        tiles in 2usize..12, distances in prop::collection::btree_set(0usize..12, 0..6),
    ) {
        let range = QueryRange::new(64 * tiles, 64 * tiles).unwrap();
        let slash_offsets = IntervalSlash::intervals_of_distances(distances.iter().copied());
        let plan = IntervalSlash { vertical_indices: Vec::new(), slash_offsets }.plan(range, 0, false).unwrap();
        for tile in 0..tiles {
            for block in 0..=tile {
                let want = block == 0 || tile - block <= 1 || distances.contains(&(tile - block));
                prop_assert_eq!(plan.blocks(tile).contains(&(block as u32)), want);
            }
        }
    }
}

/// Rows with structure: every token near one of a few directions, so that scores differ by orders of magnitude.
fn rows(len: usize, dim: usize, size: f32) -> Vec<f32> {
    (0..len * dim)
        .map(|n| {
            let (row, i) = (n / dim, n % dim);
            let kind = (row / 48) % 5;
            let x = ((kind * 31 + i * 17) % 13) as f32 / 6.5 - 1.0 + ((row * 7 + i * 3) % 11) as f32 / 30.0;
            bf16::from_f32(x * size).to_f32()
        })
        .collect()
}

fn means(k: &[f32], dim: usize, padded: usize, blocks: usize) -> Vec<bf16> {
    let mut means = vec![bf16::ZERO; blocks.next_multiple_of(16) * padded];
    for block in 0..blocks {
        let own: Vec<&[f32]> = k.chunks_exact(dim).skip(block * 64).take(64).collect();
        for i in 0..dim {
            let mean = own.iter().map(|row| row[i]).sum::<f32>() / own.len() as f32;
            means[block * padded + i] = bf16::from_f32(mean);
        }
    }
    means
}

#[test]
fn block_cluster_keeps_the_blocks_whose_row_peak_reaches_the_threshold() {
    let (dim, len) = (40, 500);
    let heads = HeadShape::new(1, 1, dim).unwrap();
    let range = QueryRange::new(len - 70, len).unwrap();
    let (q, k) = (rows(range.q_len(), dim, 2.0), rows(len, dim, 1.0));
    let means = means(&k, dim, heads.padded_dim(), range.num_blocks());
    for simd in Simd::available() {
        let queries = Queries::from_rows(simd, heads, &q).unwrap();
        let levels = BlockLevels::score(simd, &queries, 0, &means, range);
        let mut seen = std::collections::BTreeSet::new();
        for tile in 0..range.num_tiles() {
            let positions = range.tile_positions(tile);
            let blocks = range.causal_blocks(tile);
            let mut peak = vec![0f64; blocks];
            for position in positions.clone() {
                let q = &q[(position - range.q_start()) * dim..][..dim];
                let logit = |b: usize| -> f64 {
                    let mean = &means[b * heads.padded_dim()..][..dim];
                    q.iter().zip(mean).map(|(q, k)| *q as f64 * k.to_f64()).sum::<f64>() / (dim as f64).sqrt()
                };
                let sum: f64 = (0..blocks).map(|b| logit(b).exp()).sum();
                (0..blocks).for_each(|b| peak[b] = peak[b].max(logit(b).exp() / sum));
            }
            for (block, peak) in peak.iter().enumerate() {
                let exact = (-2.0 * peak.log2()).min(BlockLevels::MAX as f64);
                let got = levels.of_tile(tile)[block];
                // bf16 queries move a logit by up to 2^-8 of itself: a tenth of a level here.
                assert!((exact - 0.15..exact + 0.15).contains(&(got as f64)) || got == exact as u8, "{exact} {got}");
                seen.insert(got);
            }
        }
        assert!(seen.len() > 5, "levels differ: {seen:?}");
        for max_level in [0, 3, 9, BlockLevels::MAX] {
            let plan = BlockCluster { levels: &levels, max_level, columns: Vec::new() }.plan(range, 10, true).unwrap();
            for tile in 0..range.num_tiles() - 1 {
                let full = range.full_blocks(tile);
                let want: Vec<u32> = (0..range.causal_blocks(tile))
                    .filter(|&b| b == 0 || b + 1 >= full || levels.of_tile(tile)[b] <= max_level)
                    .map(|b| b as u32)
                    .collect();
                assert_eq!(plan.blocks(tile), want);
            }
        }
    }
}

#[test]
fn block_cluster_plans_the_same_for_any_chunking() {
    let (dim, len, simd) = (32, 64 * 9, Simd::detect());
    let heads = HeadShape::new(1, 1, dim).unwrap();
    let (q, k) = (rows(len, dim, 2.0), rows(len, dim, 1.0));
    let plan = |from: usize, to: usize| -> Vec<Vec<u32>> {
        let range = QueryRange::new(to - from, to).unwrap();
        let queries = Queries::from_rows(simd, heads, &q[from * dim..to * dim]).unwrap();
        let means = means(&k[..to * dim], dim, dim, range.num_blocks());
        let levels = BlockLevels::score(simd, &queries, 0, &means, range);
        let plan = BlockCluster { levels: &levels, max_level: 6, columns: Vec::new() }.plan(range, 0, false).unwrap();
        (0..range.num_tiles()).map(|tile| plan.blocks(tile).to_vec()).collect()
    };
    let whole = plan(0, len);
    for chunk in [64, 128, 192] {
        let pieces: Vec<_> = (0..len).step_by(chunk).flat_map(|from| plan(from, (from + chunk).min(len))).collect();
        assert_eq!(pieces, whole);
    }
}
