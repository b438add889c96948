//! Columns and slashes as MInference finds them (arXiv 2407.02490): by the exact attention of the last rows.

use super::IntervalSlash;
use super::largest::largest;
use crate::kv::KvView;
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::{LANES, Rows, Simd, exp2, multiply};
use crate::{Aligned, BLOCK_N};
use half::bf16;
use std::ops::Range;

/// Attention of the last [`LastRows::ROWS`] queries of a head, `p_ij = softmax_j(q_i . k_j * sm_scale)`.
///
/// What it says depends on where the chunk ends, so another chunking of a prompt gives other plans.
pub struct LastRows {
    /// `sum_i p_ij` of every key `j`.
    pub column_mass: Vec<f32>,
    /// `sum_i p_i,i-o` of every offset `o`.
    pub offset_mass: Vec<f32>,
}

const BLOCK: usize = BLOCK_N * LANES;

impl LastRows {
    /// Rows measured, or all where there are fewer.
    pub const ROWS: usize = 64;
    /// First columns that are always kept.
    pub const SINK_COLUMNS: usize = 30;
    /// Nearest offsets that are always kept.
    pub const NEAR_OFFSETS: usize = 100;

    /// Measures one head. The operands belong together ([`Scene::check`](crate::planner::Scene::check)).
    ///
    /// Keys are read twice, first for the rows' maxima and sums, so that no row of `kv_len` weights need be kept.
    pub fn measure(simd: Simd, queries: &Queries, kv: &KvView, range: QueryRange, head: usize) -> Self {
        let rows = Self::ROWS.min(range.q_len());
        let panels = rows.div_ceil(LANES);
        let mut q = Aligned::<bf16>::zeroed(panels * queries.panel_len());
        let mut positions = vec![[0i32; LANES]; panels];
        for row in 0..rows {
            let (panel, lane) = (row / LANES, row % LANES);
            let from = range.q_len() - rows + row;
            queries.copy_row(head, from, lane, &mut q[panel * queries.panel_len()..][..queries.panel_len()]);
            positions[panel][lane] = (range.q_start() + from) as i32;
        }
        let (dim, kv_head) = (kv.heads().padded_dim(), kv.heads().kv_head(head));
        let score = |block: usize, logits: &mut [f32]| {
            let keys = Rows::row_major(kv.keys(block, kv_head), BLOCK_N, dim, dim);
            multiply(simd, keys, &q, panels, logits, BLOCK, false);
        };

        let mut logits = Aligned::<f32>::zeroed(panels * BLOCK);
        let mut sums = vec![[0f32; LANES]; panels];
        let mut tops = vec![[f32::NEG_INFINITY; LANES]; panels];
        for block in 0..kv.num_blocks() {
            score(block, &mut logits);
            for (panel, logits) in logits.chunks_exact(BLOCK).enumerate() {
                let first_key = (block * BLOCK_N) as i32;
                absorb(simd, first_key, &positions[panel], logits, &mut tops[panel], &mut sums[panel]);
            }
        }
        // A lane without a row counts nothing.
        let inverse =
            |panel: usize, lane: usize| if panel * LANES + lane < rows { 1.0 / sums[panel][lane] } else { 0.0 };
        let inverses: Vec<[f32; LANES]> =
            (0..panels).map(|panel| std::array::from_fn(|lane| inverse(panel, lane))).collect();
        let mut measured = Self { column_mass: vec![0.0; range.kv_len()], offset_mass: vec![0.0; range.kv_len()] };
        for block in 0..kv.num_blocks() {
            score(block, &mut logits);
            for (panel, logits) in logits.chunks_exact_mut(BLOCK).enumerate() {
                let first_key = (block * BLOCK_N) as i32;
                to_shares(simd, first_key, &positions[panel], &tops[panel], &inverses[panel], logits);
                measured.add(block * BLOCK_N, &positions[panel], logits);
            }
        }
        measured
    }

    fn add(&mut self, first_key: usize, positions: &[i32; LANES], shares: &[f32]) {
        let columns = self.column_mass[first_key..].iter_mut().take(BLOCK_N);
        for ((key, column), shares) in (first_key..).zip(columns).zip(shares.chunks_exact(LANES)) {
            *column += shares.iter().sum::<f32>();
            for (share, position) in shares.iter().zip(positions) {
                // A lane without a row stands at position 0.
                if let Some(offset) = (*position as usize).checked_sub(key) {
                    self.offset_mass[offset] += share;
                }
            }
        }
    }

    /// The `columns` columns and `slashes` offsets with most attention. The first [`SINK_COLUMNS`](Self::SINK_COLUMNS) and
    /// the nearest [`NEAR_OFFSETS`](Self::NEAR_OFFSETS) are among them whatever their attention and however few are asked
    /// for. Columns of block 0 are then left out, because every plan keeps that block.
    pub fn interval_slash(&self, columns: usize, slashes: usize) -> IntervalSlash {
        let columns = best(&self.column_mass, Self::SINK_COLUMNS, columns);
        let mut slash_offsets: Vec<Range<usize>> = Vec::new();
        for offset in best(&self.offset_mass, Self::NEAR_OFFSETS, slashes) {
            match slash_offsets.last_mut() {
                Some(last) if last.end == offset => last.end += 1,
                _ => slash_offsets.push(offset..offset + 1),
            }
        }
        let vertical_indices = columns.into_iter().filter(|&column| column >= BLOCK_N).map(|column| column as u32);
        IntervalSlash { vertical_indices: vertical_indices.collect(), slash_offsets }
    }
}

/// Places of the `count` largest, the first `forced` always among them.
fn best(mass: &[f32], forced: usize, count: usize) -> Vec<usize> {
    let forced = forced.min(mass.len());
    let free = largest(&mass[forced..], count.saturating_sub(forced));
    (0..forced).chain(free.into_iter().map(|place| forced + place)).collect()
}

crate::multiversion! {
    /// Takes 64 keys into the rows' maxima and sums of `2^(logit - top)`.
    fn absorb(
        first_key: i32,
        positions: &[i32; LANES],
        logits: &[f32],
        top: &mut [f32; LANES],
        sum: &mut [f32; LANES],
    ) {
        let mut new = *top;
        for (key, logits) in logits.chunks_exact(LANES).enumerate() {
            for lane in 0..LANES {
                let seen = first_key + key as i32 <= positions[lane];
                new[lane] = if seen && logits[lane] > new[lane] { logits[lane] } else { new[lane] };
            }
        }
        // Every row sees key 0, so after the first block no maximum is infinite.
        for lane in 0..LANES {
            sum[lane] *= exp2::<FMA>(top[lane] - new[lane]);
        }
        for (key, logits) in logits.chunks_exact(LANES).enumerate() {
            for lane in 0..LANES {
                let seen = first_key + key as i32 <= positions[lane];
                sum[lane] += if seen { exp2::<FMA>(logits[lane] - new[lane]) } else { 0.0 };
            }
        }
        *top = new;
    }
}

crate::multiversion! {
    fn to_shares(
        first_key: i32,
        positions: &[i32; LANES],
        top: &[f32; LANES],
        inverse: &[f32; LANES],
        logits: &mut [f32],
    ) {
        for (key, logits) in logits.chunks_exact_mut(LANES).enumerate() {
            for lane in 0..LANES {
                let seen = first_key + key as i32 <= positions[lane];
                logits[lane] = if seen { exp2::<FMA>(logits[lane] - top[lane]) * inverse[lane] } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests;
