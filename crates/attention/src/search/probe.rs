//! Exact attention of a few rows.

use crate::kv::KvView;
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::{LANES, Rows, Simd, exp2, multiply};
use crate::{Aligned, BLOCK_M, BLOCK_N};
use half::bf16;

/// The exact softmax of rows spread over a chunk: one in every stratum of the rows, at a place inside it that looks
/// random but is the same on every run. Rows of even strata *propose*, rows of odd strata *judge*.
pub(super) struct Probes {
    pub proposing: Vec<Panel>,
    pub judging: Vec<Panel>,
}

/// Sixteen probe rows.
pub(super) struct Panel {
    /// Query row of each lane.
    pub rows: [usize; LANES],
    /// Attention of each row, `[kv_len, padded to 64][16]`; 0 where a key is in the row's future.
    pub shares: Aligned<f32>,
}

/// Panels of probes in all: two (one proposing, one judging) for every 32 tiles.
pub(super) fn num_panels(range: QueryRange) -> usize {
    2 * range.num_tiles().div_ceil(2 * LANES)
}

impl Probes {
    pub(super) fn measure(simd: Simd, queries: &Queries, kv: &KvView, range: QueryRange, head: usize) -> Self {
        let strata = num_panels(range) * LANES;
        let rows: Vec<usize> = (0..strata)
            .map(|stratum| {
                let (from, to) = (stratum * range.q_len() / strata, (stratum + 1) * range.q_len() / strata);
                from + scatter(stratum as u64) % (to - from).max(1)
            })
            .collect();
        let panels = |first: usize| {
            let own: Vec<usize> = rows.iter().copied().skip(first).step_by(2).collect();
            own.chunks_exact(LANES).map(|rows| Panel::measure(simd, queries, kv, range, head, rows)).collect()
        };
        Self { proposing: panels(0), judging: panels(1) }
    }
}

/// A fixed permutation-like hash (the finaliser of SplitMix64).
fn scatter(n: u64) -> usize {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 33) as usize
}

impl Panel {
    fn measure(simd: Simd, queries: &Queries, kv: &KvView, range: QueryRange, head: usize, rows: &[usize]) -> Self {
        let rows: [usize; LANES] = rows.try_into().expect("sixteen rows");
        let mut q = Aligned::<bf16>::zeroed(queries.panel_len());
        for (lane, &row) in rows.iter().enumerate() {
            queries.copy_row(head, row, lane, &mut q);
        }
        let (dim, kv_head) = (kv.heads().padded_dim(), kv.heads().kv_head(head));
        let mut shares = Aligned::<f32>::zeroed(kv.num_blocks() * BLOCK_N * LANES);
        for (block, shares) in shares.chunks_exact_mut(BLOCK_N * LANES).enumerate() {
            let keys = Rows::row_major(kv.keys(block, kv_head), BLOCK_N, dim, dim);
            multiply(simd, keys, &q, 1, shares, BLOCK_N * LANES, false);
        }
        let positions = rows.map(|row| (range.q_start() + row) as i32);
        softmax(simd, &positions, &mut shares);
        Self { rows, shares }
    }

    /// Q tile of a lane.
    pub(super) fn tile(&self, lane: usize) -> usize {
        self.rows[lane] / BLOCK_M
    }

    /// Attention of each block, `[num_blocks][16]`.
    pub(super) fn block_shares(&self, simd: Simd) -> Vec<[f32; LANES]> {
        let mut sums = vec![[0f32; LANES]; self.shares.len() / (BLOCK_N * LANES)];
        sum_blocks(simd, &self.shares, &mut sums);
        sums
    }

    /// Adds to each key the attention of the rows that see it more than two blocks away from their diagonal: nearer
    /// keys are in blocks that every plan keeps.
    pub(super) fn add_far_to_columns(&self, simd: Simd, range: QueryRange, columns: &mut [f32]) {
        let limits =
            std::array::from_fn(|lane| (range.full_blocks(self.tile(lane)).saturating_sub(1) * BLOCK_N) as i32);
        sum_lanes(simd, &self.shares, &limits, columns);
    }
}

crate::multiversion! {
    /// Base-2 logits `[key][16]` to shares; keys above a lane's position get 0, whatever their logit is.
    fn softmax(positions: &[i32; LANES], logits: &mut [f32]) {
        let mut top = [f32::NEG_INFINITY; LANES];
        for (key, logits) in logits.chunks_exact_mut(LANES).enumerate() {
            for lane in 0..LANES {
                logits[lane] = if key as i32 <= positions[lane] { logits[lane] } else { f32::NEG_INFINITY };
                top[lane] = if logits[lane] > top[lane] { logits[lane] } else { top[lane] };
            }
        }
        let mut sum = [0f32; LANES];
        for logits in logits.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                logits[lane] = exp2::<FMA>(logits[lane] - top[lane]);
                sum[lane] += logits[lane];
            }
        }
        for lane in 0..LANES {
            sum[lane] = 1.0 / sum[lane];
        }
        for logits in logits.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                logits[lane] *= sum[lane];
            }
        }
    }
}

crate::multiversion! {
    fn sum_blocks(shares: &[f32], sums: &mut [[f32; LANES]]) {
        for (shares, sums) in shares.chunks_exact(BLOCK_N * LANES).zip(sums) {
            for shares in shares.chunks_exact(LANES) {
                for lane in 0..LANES {
                    sums[lane] += shares[lane];
                }
            }
        }
    }
}

crate::multiversion! {
    fn sum_lanes(shares: &[f32], limits: &[i32; LANES], columns: &mut [f32]) {
        for (key, (shares, column)) in shares.chunks_exact(LANES).zip(columns).enumerate() {
            let mut sum = 0f32;
            for lane in 0..LANES {
                sum += if (key as i32) < limits[lane] { shares[lane] } else { 0.0 };
            }
            *column += sum;
        }
    }
}
