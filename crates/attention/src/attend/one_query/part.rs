//! Part of the keys, for the query heads that share them.

use crate::BLOCK_N;
use crate::kv::KvView;
use crate::queries::Queries;
use crate::simd::few_queries::{add_values, score};
use crate::simd::{LANES, Simd, exp2};
use half::bf16;
use std::ops::Range;

/// Keys of a kv head and the queries of its group.
pub(super) struct Part<'a> {
    pub(super) simd: Simd,
    pub(super) queries: &'a Queries,
    pub(super) kv: &'a KvView<'a>,
    pub(super) kv_head: usize,
    /// What the queries see.
    pub(super) keys: Range<usize>,
}

/// What a part works in.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[head][padded_dim]`
    queries: Vec<f32>,
    /// Scores, then weights, of a block, for each head.
    weights: Vec<[f32; BLOCK_N]>,
    /// `[padded_dim][head]`: sums of values times weights, of the keys of each lane.
    values: Vec<[f32; LANES]>,
    /// Of a block that keys do not fill.
    clean: Vec<bf16>,
}

impl Part<'_> {
    /// Numbers of a result: the maximum of each head, its sum, and its values `[padded_dim]`.
    pub(super) fn len(group: usize, dim: usize) -> usize {
        group * (2 + dim)
    }

    /// Maximum, sum and values of one head of a result.
    pub(super) fn of_head(result: &[f32], head: usize, group: usize) -> (f32, f32, &[f32]) {
        let dim = result.len() / group - 2;
        (result[head], result[group + head], &result[2 * group + head * dim..][..dim])
    }

    /// Attention to the keys of `blocks`.
    pub(super) fn run(&self, blocks: Range<usize>, scratch: &mut Scratch, result: &mut [f32]) {
        let Self { simd, queries, kv, kv_head, .. } = *self;
        let (group, dim) = (kv.heads().group_size(), kv.heads().padded_dim());
        let (tops, rest) = result.split_at_mut(group);
        let (sums, result) = rest.split_at_mut(group);
        tops.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        scratch.queries.clear();
        for head in kv_head * group..(kv_head + 1) * group {
            let pairs = queries.panel(head, 0).chunks_exact(2 * LANES);
            scratch.queries.extend(pairs.flat_map(|pairs| [pairs[0].to_f32(), pairs[1].to_f32()]));
        }
        let Scratch { queries, weights, values, clean } = scratch;
        weights.resize(group, [0.0; BLOCK_N]);
        values.clear();
        values.resize(group * dim, [0.0; LANES]);
        for block in blocks {
            let first = block * BLOCK_N;
            let seen = self.keys.start.saturating_sub(first)..(self.keys.end - first).min(BLOCK_N);
            score(simd, kv.keys(block, kv_head), queries, weights);
            for (head, weights) in weights.iter_mut().enumerate() {
                let factor = weigh(simd, &seen, weights, &mut tops[head], &mut sums[head]);
                if factor != 1.0 {
                    let values = values.iter_mut().skip(head).step_by(group).flatten();
                    values.for_each(|value| *value *= factor);
                }
            }
            let mut of_block = kv.values(block, kv_head);
            if seen.end < BLOCK_N {
                // The rest of the page may hold anything, NaN too, and 0 * NaN is NaN.
                clean.clear();
                clean.extend_from_slice(of_block);
                clean.chunks_exact_mut(BLOCK_N).for_each(|row| row[seen.end..].fill(bf16::ZERO));
                of_block = clean;
            }
            add_values(simd, of_block, weights, values);
        }
        for (at, lanes) in values.iter().enumerate() {
            result[at % group * dim + at / group] = lanes.iter().sum();
        }
    }
}

crate::multiversion! {
    /// Scores become weights, those outside `seen` 0, and go into the running maximum and sum; what was summed before is to be
    /// multiplied by what is returned.
    fn weigh(seen: &Range<usize>, scores: &mut [f32; BLOCK_N], top: &mut f32, sum: &mut f32) -> f32 {
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        let scores = scores.as_chunks_mut::<LANES>().0;
        let mut tops = [f32::NEG_INFINITY; LANES];
        for scores in scores.iter() {
            for lane in 0..LANES {
                tops[lane] = if scores[lane] > tops[lane] { scores[lane] } else { tops[lane] };
            }
        }
        let highest = tops.iter().fold(*top, |top, other| if *other > top { *other } else { top });
        let factor = if highest > *top { exp2::<FMA>(*top - highest) } else { 1.0 };
        *top = highest;
        let mut sums = [0f32; LANES];
        for scores in scores.iter_mut() {
            for lane in 0..LANES {
                scores[lane] = exp2::<FMA>(scores[lane] - highest);
                sums[lane] += scores[lane];
            }
        }
        *sum = *sum * factor + sums.iter().sum::<f32>();
        factor
    }
}
