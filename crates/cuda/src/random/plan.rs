//! Random plans.

use super::Random;
use attention::Error;
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::shape::Tiles;

/// Every block that a tile sees whole is listed with the same probability, by each head for itself; those that the diagonal
/// cuts always are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RandomPlan {
    /// Probability of a block.
    pub density: f64,
    /// Columns of each head, anywhere.
    pub columns: usize,
    pub centres: bool,
}

impl RandomPlan {
    pub(crate) fn plan(&self, tiles: Tiles, heads: usize) -> Result<Plan, Error> {
        let mut random = Random::new(self.density.to_bits() ^ self.columns as u64);
        let kv_len = tiles.range().kv_len();
        let head = |_| {
            // One in each stratum of the keys: as many as asked for, none twice.
            let count = self.columns.min(kv_len);
            let column = |n: usize| {
                let (from, to) = (n * kv_len / count, (n + 1) * kv_len / count);
                (from + (random.next() * (to - from) as f64) as usize) as u32
            };
            let columns = (0..count).map(column).collect();
            let plan = SparsePlan::from_rule(tiles, 0, columns, self.centres, |_, keep| {
                keep.iter_mut().for_each(|keep| *keep = random.next() < self.density);
            });
            plan.map(HeadPlan::Sparse)
        };
        Ok(Plan { heads: (0..heads).map(head).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::BLOCK_N;
    use attention::shape::QueryRange;
    use proptest::prelude::*;

    fn sparse(plan: &Plan) -> impl Iterator<Item = &SparsePlan> {
        plan.heads.iter().map(|head| match head {
            HeadPlan::Sparse(plan) => plan,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn heads_differ_and_have_their_columns() {
        let tiles = QueryRange::new(8192, 8192).unwrap().tiles(128).unwrap();
        let plan = RandomPlan { density: 0.3, columns: 100, centres: true }.plan(tiles, 2).unwrap();
        let [first, second] = sparse(&plan).collect::<Vec<_>>()[..] else { panic!("{plan:?}") };
        assert!(first.columns().len() == 100 && first.centres() && first != second);
        let density = plan.density(tiles.range());
        assert!((0.28..0.36).contains(&density), "{density}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn plans_are_as_dense_as_they_say(
            q_len in 1usize..6000,
            prefix in 0usize..6000,
            block_m in prop::sample::select(vec![64, 128, 192]),
            density in 0.01f64..1.0,
            columns in 0usize..300,
            heads in 1usize..5,
        ) {
            let range = QueryRange::new(q_len, prefix + q_len).unwrap();
            let tiles = range.tiles(block_m).unwrap();
            let plan = RandomPlan { density, columns, centres: false }.plan(tiles, heads).unwrap();
            let (mut whole, mut listed) = (0, 0);
            for head in sparse(&plan) {
                prop_assert_eq!(head.columns().len(), columns.min(range.kv_len()));
                for tile in 0..tiles.num_tiles() {
                    let full = tiles.full_blocks(tile) as u32;
                    let (inside, cut): (Vec<u32>, Vec<u32>) = head.blocks(tile).iter().partition(|block| **block < full);
                    prop_assert_eq!(cut, (full..tiles.causal_blocks(tile) as u32).collect::<Vec<_>>());
                    (whole, listed) = (whole + full as usize, listed + inside.len());
                }
            }
            // Six standard deviations of so many independent choices.
            let (expected, deviation) = (density * whole as f64, (whole as f64 * density * (1.0 - density)).sqrt());
            prop_assert!((listed as f64 - expected).abs() <= 6.0 * deviation + 1.0, "{listed} of {whole}");
        }

        #[test]
        fn the_counted_density_is_that_of_the_blocks_and_the_diagonal(density in 0.02f64..1.0, block_m in prop::sample::select(vec![128, 192])) {
            let range = QueryRange::new(8192, 8192).unwrap();
            let tiles = range.tiles(block_m).unwrap();
            let plan = RandomPlan { density, columns: 0, centres: false }.plan(tiles, 4).unwrap();
            // Pairs of each block that may be listed, in each of four heads.
            let blocks = (0..tiles.num_tiles()).map(|n| (4 * tiles.full_blocks(n), (tiles.positions(n).len() * BLOCK_N) as f64));
            let all = 4.0 * range.causal_pairs() as f64;
            let whole = blocks.clone().map(|(n, pairs)| n as f64 * pairs).sum::<f64>() / all;
            let squares = blocks.map(|(n, pairs)| n as f64 * (pairs / all).powi(2)).sum::<f64>();
            // Six standard deviations of so many independent choices.
            let (expected, deviation) = (density * whole + (1.0 - whole), (density * (1.0 - density) * squares).sqrt());
            let counted = plan.density(range);
            prop_assert!((counted - expected).abs() <= 6.0 * deviation + 1e-9, "{counted} for {expected}");
        }
    }
}
