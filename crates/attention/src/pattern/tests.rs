use super::*;
use crate::plan::SparsePlan;
use crate::shape::{QueryRange, Tiles};
use proptest::prelude::*;

/// The plan must keep exactly the blocks in which some pair of the tile satisfies `keeps`, and the ones always kept.
fn check(
    tiles: Tiles,
    last_rows: usize,
    plan: &SparsePlan,
    keeps: impl Fn(usize, usize) -> bool,
) -> Result<(), TestCaseError> {
    for tile in 0..tiles.num_tiles() {
        let rows = tiles.positions(tile);
        let full = (0..tiles.num_blocks()).filter(|b| 64 * b + 63 <= rows.start).count();
        let sees_all = rows.end + last_rows > tiles.range().kv_len();
        for block in 0..tiles.num_blocks() {
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

fn tiles() -> impl Strategy<Value = Tiles> {
    let block_m = prop::sample::select(vec![64usize, 64, 128, 192, 256]);
    (1usize..400, 0usize..400, block_m)
        .prop_map(|(q, cached, block_m)| QueryRange::new(q, q + cached).unwrap().tiles(block_m).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn triangular_is_its_mask(tiles in tiles(), sink in 0usize..300, window in 0usize..300, last in 0usize..100) {
        let plan = Triangular { sink, window }.plan(tiles, last, Vec::new(), false).unwrap();
        check(tiles, last, &plan, |i, j| j < sink || i - j < window)?;
    }

    #[test]
    fn interval_slash_is_its_mask(
        tiles in tiles(), last in 0usize..100,
        slashes in prop::collection::vec((0usize..600, 0usize..90), 0..4),
    ) {
        let slash_offsets: Vec<_> = slashes.iter().map(|&(start, len)| start..start + len).collect();
        let keeps = |i: usize, j: usize| slash_offsets.iter().any(|s| s.contains(&(i - j)));
        let vertical_indices: Vec<u32> = (0..tiles.range().kv_len() as u32).step_by(37).collect();
        let pattern = IntervalSlash { vertical_indices: vertical_indices.clone(), slash_offsets: slash_offsets.clone() };
        let plan = pattern.plan(tiles, last, true).unwrap();
        check(tiles, last, &plan, keeps)?;
        prop_assert_eq!(plan.columns(), &vertical_indices[..]);
    }

    #[test]
    fn intervals_of_distances_touch_those_distances_only(
        n in 2usize..12, distances in prop::collection::btree_set(0usize..12, 0..6),
    ) {
        let tiles = QueryRange::new(64 * n, 64 * n).unwrap().tiles(64).unwrap();
        let slash_offsets = IntervalSlash::intervals_of_distances(distances.iter().copied());
        let plan = IntervalSlash { vertical_indices: Vec::new(), slash_offsets }.plan(tiles, 0, false).unwrap();
        for tile in 0..n {
            for block in 0..=tile {
                let want = block == 0 || tile - block <= 1 || distances.contains(&(tile - block));
                prop_assert_eq!(plan.blocks(tile).contains(&(block as u32)), want);
            }
        }
    }
}

#[test]
fn patterns_are_named_for_people() {
    let text = |pattern: HeadPattern| pattern.to_string();
    assert_eq!(text(HeadPattern::Dense), "dense");
    assert_eq!(text(HeadPattern::Triangular { window: 512, columns: 64 }), "window 512 + 64 columns");
    assert_eq!(text(HeadPattern::IntervalSlash { intervals: 1, columns: 0 }), "1 slash");
    assert_eq!(text(HeadPattern::BlockCluster { threshold: 0.125, columns: 0 }), "blocks >= 0.1250");
    assert_eq!(text(HeadPattern::TopBlocks { blocks: 3 }), "top 3 blocks");
}
