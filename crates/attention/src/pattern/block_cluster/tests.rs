use super::*;
use crate::kv::KvPages;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange, Tiles};
use crate::simd::Simd;
use half::bf16;
use proptest::prelude::*;

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

/// One head of one sequence, and everything a selector reads.
struct Case {
    heads: HeadShape,
    tiles: Tiles,
    q: Vec<f32>,
    k: Vec<f32>,
    pages: KvPages,
    table: Vec<u32>,
}

impl Case {
    fn new(dim: usize, block_m: usize, from: usize, to: usize, q: &[f32], k: &[f32]) -> Self {
        let heads = HeadShape::new(1, 1, dim).unwrap();
        let (q, k) = (q[from * dim..to * dim].to_vec(), k[..to * dim].to_vec());
        let mut pages = KvPages::new(heads, to.div_ceil(64));
        pages.plant_nan();
        let table: Vec<u32> = (0..to.div_ceil(64) as u32).rev().collect();
        pages.append_rows(&table, 0, &k, &k).unwrap();
        let tiles = QueryRange::new(to - from, to).unwrap().tiles(block_m).unwrap();
        Self { heads, tiles, q, k, pages, table }
    }

    fn levels(&self, simd: Simd, selector: Selector) -> BlockLevels {
        let queries = Queries::from_rows(simd, self.heads, &self.q).unwrap();
        let view = self.pages.view(&self.table, self.tiles.range().kv_len()).unwrap();
        BlockLevels::measure(simd, selector, &queries, 0, &view, self.tiles).unwrap()
    }

    /// `sm_scale * q . x` for the query at `position`.
    fn logit(&self, position: usize, x: impl Fn(usize) -> f64) -> f64 {
        let dim = self.heads.head_dim();
        let q = &self.q[(position - self.tiles.range().q_start()) * dim..][..dim];
        q.iter().enumerate().map(|(i, q)| *q as f64 * x(i)).sum::<f64>() / (dim as f64).sqrt()
    }

    fn mean_key(&self, block: usize) -> Vec<f64> {
        let dim = self.heads.head_dim();
        let own: Vec<&[f32]> = self.k.chunks_exact(dim).skip(block * 64).take(64).collect();
        let mean = |i: usize| own.iter().map(|row| row[i]).sum::<f32>() / own.len() as f32;
        (0..dim).map(|i| bf16::from_f32(mean(i)).to_f64()).collect()
    }

    /// The scores of a tile, from their definitions.
    fn scores(&self, score: BlockScore, tile: usize) -> Vec<f64> {
        let blocks = self.tiles.causal_blocks(tile);
        let rows: Vec<usize> = self.tiles.positions(tile).collect();
        let softmax = |logits: Vec<f64>| -> Vec<f64> {
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            logits.iter().map(|x| x.exp() / sum).collect()
        };
        let means: Vec<Vec<f64>> = (0..blocks).map(|block| self.mean_key(block)).collect();
        let of_row = |row: usize| -> Vec<f64> { means.iter().map(|mean| self.logit(row, |i| mean[i])).collect() };
        let over_rows = |add: &dyn Fn(&mut f64, f64), of_row: &dyn Fn(usize) -> Vec<f64>| {
            let mut scores = vec![0f64; blocks];
            for row in &rows {
                scores.iter_mut().zip(of_row(*row)).for_each(|(score, x)| add(score, x));
            }
            scores
        };
        match score {
            BlockScore::RowPeak { stride } => {
                let sampled = |row: usize| (row - rows[0]).is_multiple_of(stride);
                let shares = |row| if sampled(row) { softmax(of_row(row)) } else { vec![0.0; blocks] };
                over_rows(&|score, x| *score = score.max(x), &shares)
            }
            BlockScore::RowMass => over_rows(&|score, x| *score += x / rows.len() as f64, &|row| softmax(of_row(row))),
            BlockScore::TileMass => {
                let sums = over_rows(&|score, x| *score += x.exp(), &of_row);
                let total: f64 = sums.iter().sum();
                sums.iter().map(|x| x / total).collect()
            }
            BlockScore::Pooled => {
                let mean = |block: usize| rows.iter().map(|row| of_row(*row)[block]).sum::<f64>() / rows.len() as f64;
                softmax((0..blocks).map(mean).collect())
            }
            BlockScore::Antidiagonal { stride } => {
                let dim = self.heads.head_dim();
                let mut scores = vec![0f64; blocks];
                let long_rows: Vec<usize> = (rows[0]..rows[0] + rows.len()).step_by(stride).collect();
                for &first in &long_rows {
                    let seen = (first + stride - 1).min(self.tiles.range().kv_len() - 1) / stride + 1;
                    let cells = (0..seen).map(|cell| {
                        // Row `first + r` meets key `cell * stride + (stride - 1 - r)`.
                        let pairs = (0..stride).map(|r| (first + r, cell * stride + stride - 1 - r));
                        let inside = pairs.filter(|(row, key)| {
                            row < &self.tiles.range().kv_len() && key < &self.tiles.range().kv_len()
                        });
                        inside.map(|(row, key)| self.logit(row, |i| self.k[key * dim + i] as f64)).sum::<f64>()
                            / stride as f64
                    });
                    for (cell, share) in softmax(cells.collect()).into_iter().enumerate() {
                        scores[cell * stride / 64] += share / long_rows.len() as f64;
                    }
                }
                scores
            }
        }
    }
}

const SCORES: [BlockScore; 9] = [
    BlockScore::RowPeak { stride: 1 },
    BlockScore::RowPeak { stride: 2 },
    BlockScore::RowPeak { stride: 4 },
    BlockScore::RowMass,
    BlockScore::TileMass,
    BlockScore::Pooled,
    BlockScore::Antidiagonal { stride: 4 },
    BlockScore::Antidiagonal { stride: 8 },
    BlockScore::Antidiagonal { stride: 16 },
];

#[test]
fn every_score_is_its_definition() {
    let dim = 40;
    let (q, k) = (rows(500, dim, 2.0), rows(500, dim, 1.0));
    let heights = [64, 64, 64, 64, 128, 128, 192, 256, 1024];
    let ranges = [(70, 500), (128, 448), (0, 63), (200, 201), (70, 500), (128, 448), (70, 500), (0, 500), (70, 500)];
    for (block_m, (from, to)) in heights.into_iter().zip(ranges) {
        let case = Case::new(dim, block_m, from, to, &q, &k);
        for simd in Simd::available() {
            for score in SCORES {
                let levels = case.levels(simd, Selector { score, rule: BlockRule::Share });
                for tile in 0..case.tiles.num_tiles() {
                    for (block, want) in case.scores(score, tile).into_iter().enumerate() {
                        let exact = (-2.0 * want.log2()).clamp(0.0, BlockLevels::MAX as f64);
                        let got = levels.of_tile(tile)[block];
                        // bf16 queries move a logit by up to 2^-8 of itself: up to a fifth of a level here.
                        let close = (got as f64 - 0.2..got as f64 + 1.2).contains(&exact);
                        assert!(
                            close,
                            "{simd:?} {score:?} {block_m}: {from}..{to} tile {tile} block {block}: {exact}, level {got}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_stride_that_a_score_does_not_take_is_refused() {
    let k = rows(200, 32, 1.0);
    let case = Case::new(32, 64, 0, 200, &k, &k);
    let queries = Queries::from_rows(Simd::detect(), case.heads, &case.q).unwrap();
    let view = case.pages.view(&case.table, 200).unwrap();
    let antidiagonal = [0, 1, 2, 7, 48, 128].map(|stride| BlockScore::Antidiagonal { stride });
    let row_peak = [0, 3, 8].map(|stride| BlockScore::RowPeak { stride });
    for score in antidiagonal.into_iter().chain(row_peak) {
        let selector = Selector { score, rule: BlockRule::Share };
        let levels = BlockLevels::measure(Simd::detect(), selector, &queries, 0, &view, case.tiles);
        assert!(matches!(levels, Err(Error::Parameter { .. })), "{score:?}");
    }
}

proptest! {
    /// Keeping levels up to `n` is the rule with the threshold of level `n`.
    #[test]
    fn every_rule_is_its_threshold(weights in prop::collection::vec(0f32..1.0, 1..40), max_level in 0u8..28) {
        let total: f32 = weights.iter().map(|w| w.powi(6)).sum::<f32>() + 1e-6;
        let scores: Vec<f32> = weights.iter().map(|w| w.powi(6) / total).collect();
        let threshold = BlockLevels::threshold(max_level) as f64;
        for rule in [BlockRule::Share, BlockRule::FractionOfMax, BlockRule::CumulativeMass, BlockRule::TopK] {
            let mut levels = vec![0; scores.len()];
            rule.levels(&scores, &mut levels);
            for (block, score) in scores.iter().enumerate() {
                let larger = || scores.iter().enumerate().filter(|(b, s)| **s > *score || **s == *score && *b < block);
                let value = match rule {
                    BlockRule::Share => *score as f64,
                    BlockRule::FractionOfMax => (*score / scores.iter().copied().fold(0.0, f32::max)) as f64,
                    BlockRule::CumulativeMass => {
                        let sum: f64 = scores.iter().map(|s| *s as f64).sum();
                        1.0 - larger().map(|(_, s)| *s as f64).sum::<f64>() / sum
                    }
                    BlockRule::TopK => 1.0 / (larger().count() + 1) as f64,
                };
                // Single precision decides what lies on the threshold.
                if (value / threshold - 1.0).abs() > 1e-3 && value > 1e-4 {
                    prop_assert_eq!(levels[block] <= max_level, value >= threshold, "{:?} {} {}", rule, value, threshold);
                }
            }
        }
    }
}

#[test]
fn a_plan_keeps_the_levels_up_to_its_own() {
    let (q, k) = (rows(500, 40, 2.0), rows(500, 40, 1.0));
    let case = Case::new(40, 64, 70, 500, &q, &k);
    let levels = case.levels(Simd::detect(), Selector::default());
    for max_level in [0, 3, 9, BlockLevels::MAX] {
        let plan = BlockCluster { levels: &levels, max_level, columns: Vec::new() }.plan(case.tiles, 10, true).unwrap();
        for tile in 0..case.tiles.num_tiles() - 1 {
            let full = case.tiles.full_blocks(tile);
            let want: Vec<u32> = (0..case.tiles.causal_blocks(tile))
                .filter(|&b| b == 0 || b + 1 >= full || levels.of_tile(tile)[b] <= max_level)
                .map(|b| b as u32)
                .collect();
            assert_eq!(plan.blocks(tile), want);
        }
    }
}

/// Chunks that end at multiples of 64 have the same tiles; a tile's levels depend on its rows and the keys before it.
#[test]
fn plans_are_the_same_for_any_chunking_and_behind_a_cached_prefix() {
    let (dim, len) = (32, 64 * 9);
    let (q, k) = (rows(len, dim, 2.0), rows(len, dim, 1.0));
    for score in SCORES {
        for rule in [BlockRule::Share, BlockRule::FractionOfMax, BlockRule::CumulativeMass, BlockRule::TopK] {
            let plan = |from: usize, to: usize| -> Vec<Vec<u32>> {
                let case = Case::new(dim, 64, from, to, &q, &k);
                let levels = case.levels(Simd::detect(), Selector { score, rule });
                let pattern = BlockCluster { levels: &levels, max_level: 4, columns: Vec::new() };
                let plan = pattern.plan(case.tiles, 0, false).unwrap();
                (0..case.tiles.num_tiles()).map(|tile| plan.blocks(tile).to_vec()).collect()
            };
            let whole = plan(0, len);
            for chunk in [64, 128, 192] {
                let pieces: Vec<_> =
                    (0..len).step_by(chunk).flat_map(|from| plan(from, (from + chunk).min(len))).collect();
                assert_eq!(pieces, whole, "{score:?} {rule:?}");
            }
            assert_eq!(plan(192, len), whole[3..], "{score:?} {rule:?}");
        }
    }
}
