//! Exact attention of a few rows.

use super::parts::{JUDGES_OF_PART, JUDGING, Parts, num_panels};
use crate::kv::KvView;
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{LANES, Rows, Simd, each_lane, exp2, multiply};
use crate::{Aligned, BLOCK_N, Error};
use half::bf16;
use std::cell::RefCell;

/// The exact softmax of rows spread over a chunk: sixteen of each [part](Parts), one in every stratum of its rows, at a place
/// inside it that looks random but is the same on every run. Every fourth row *proposes*, and all *judge*.
///
/// What a row proposes suits it better than others, so a choice judged by the rows that proposed it is flattered; and the cheapest
/// of several choices is one that the judges happened to like. Three judges in four have proposed nothing, and four times as many
/// judges as proposers leave little to chance: `docs/selectors.md` has what plans keep of what was estimated.
pub(super) struct Probes<'a> {
    /// A quarter of those that judge.
    pub proposing: &'a [Panel<'a>],
    /// All.
    pub judging: &'a [Panel<'a>],
}

/// Sixteen rows.
pub(crate) struct Panel<'a> {
    /// Query row of each lane.
    pub rows: [usize; LANES],
    /// Rows of a q tile.
    block_m: usize,
    /// `2^(logit - top)` of each row, `[kv_len, padded to 64][16]`; 0 where a key is in the row's future.
    weights: &'a [f32],
    /// What makes weights to shares of the row's attention.
    inverse: [f32; LANES],
    /// Attention of each block, `[num_blocks][16]`.
    pub block_shares: Vec<[f32; LANES]>,
}

thread_local! {
    /// Weights of all panels. Kept from head to head: zeroing and faulting in fresh memory costs as much as the softmax.
    static WEIGHTS: RefCell<Aligned<f32>> = RefCell::default();
}

impl Probes<'_> {
    /// Which part a row of a judging panel is in: panels have every fourth stratum.
    pub(super) fn part(&self, panel: usize, lane: usize) -> usize {
        let stratum = (panel % self.proposing.len() * LANES + lane) * JUDGING + panel / self.proposing.len();
        stratum / JUDGES_OF_PART
    }

    /// Measures the probes of a head and hands them to `use_them`.
    pub(super) fn measure<R>(
        simd: Simd,
        queries: &Queries,
        kv: &KvView,
        tiles: Tiles,
        head: usize,
        use_them: impl FnOnce(&Probes) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let rows = rows(tiles);
        with_panels(simd, queries, kv, tiles, head, rows, |panels| {
            use_them(&Probes { proposing: &panels[..panels.len() / JUDGING], judging: panels })
        })
    }
}

/// Measures panels of rows of a head and hands them to `use_them`.
pub(crate) fn with_panels<R>(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    tiles: Tiles,
    head: usize,
    rows: Vec<[usize; LANES]>,
    use_them: impl FnOnce(&[Panel]) -> Result<R, Error>,
) -> Result<R, Error> {
    let len = rows.len() * kv.num_blocks() * BLOCK_N * LANES;
    WEIGHTS.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            *buffer = Aligned::try_zeroed("the attention of probe rows", len)?;
        }
        use_them(&measure(simd, queries, kv, tiles, head, rows, &mut buffer[..len]))
    })
}

/// Query rows of each panel: first the proposing ones, of every fourth stratum, then the others.
fn rows(tiles: Tiles) -> Vec<[usize; LANES]> {
    let (parts, panels) = (Parts::of(tiles), num_panels(tiles.range()));
    let row = |stratum: usize| {
        let (rows, n) = (parts.rows(stratum / JUDGES_OF_PART), stratum % JUDGES_OF_PART);
        let begin = |n: usize| rows.start + n * rows.len() / JUDGES_OF_PART;
        let (from, to) = (begin(n), begin(n + 1));
        from + (scatter(stratum as u64) >> 33) as usize % (to - from).max(1)
    };
    let panel = |p: usize, of_four: usize| std::array::from_fn(|lane| row((p * LANES + lane) * JUDGING + of_four));
    (0..JUDGING).flat_map(|of_four| (0..panels / JUDGING).map(move |p| panel(p, of_four))).collect()
}

/// The query rows whose exact attention the search looks at. All judge; the first quarter proposes columns and slashes, too.
pub fn probe_rows(tiles: Tiles) -> Vec<usize> {
    rows(tiles).into_flattened()
}

/// A fixed permutation-like hash (the finaliser of SplitMix64).
pub(crate) fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All panels together: each key is read once, and each block of logits is still in the first-level cache when its
/// maximum is taken.
fn measure<'a>(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    tiles: Tiles,
    head: usize,
    rows: Vec<[usize; LANES]>,
    weights: &'a mut [f32],
) -> Vec<Panel<'a>> {
    const BLOCK: usize = BLOCK_N * LANES;
    let panel_len = weights.len() / rows.len();
    let q_start = tiles.range().q_start();
    let mut q = Aligned::<bf16>::zeroed(rows.len() * queries.panel_len());
    for (rows, q) in rows.iter().zip(q.chunks_exact_mut(queries.panel_len())) {
        rows.iter().enumerate().for_each(|(lane, &row)| queries.copy_row(head, row, lane, q));
    }
    let (dim, kv_head) = (kv.heads().padded_dim(), kv.heads().kv_head(head));
    let positions: Vec<[i32; LANES]> = rows.iter().map(|rows| rows.map(|row| (q_start + row) as i32)).collect();
    let mut tops = vec![[f32::NEG_INFINITY; LANES]; rows.len()];
    for block in 0..kv.num_blocks() {
        let keys = Rows::row_major(kv.keys(block, kv_head), BLOCK_N, dim, dim);
        multiply(simd, keys, &q, rows.len(), &mut weights[block * BLOCK..], panel_len, false);
        for (panel, (positions, top)) in positions.iter().zip(&mut tops).enumerate() {
            let logits = &mut weights[panel * panel_len + block * BLOCK..][..BLOCK];
            if (block + 1) * BLOCK_N > q_start {
                hide_future(simd, (block * BLOCK_N) as i32, positions, logits);
            }
            raise_top(simd, logits, top);
        }
    }
    let panels = rows.into_iter().zip(weights.chunks_exact_mut(panel_len)).zip(tops);
    panels
        .map(|((rows, weights), top)| {
            let mut block_shares = vec![[0f32; LANES]; kv.num_blocks()];
            exponentiate(simd, &top, weights, &mut block_shares);
            let mut inverse = [0f32; LANES];
            for (lane, inverse) in inverse.iter_mut().enumerate() {
                *inverse = 1.0 / block_shares.iter().map(|sums| sums[lane]).sum::<f32>();
            }
            for sums in &mut block_shares {
                sums.iter_mut().zip(&inverse).for_each(|(sum, inverse)| *sum *= inverse);
            }
            Panel { rows, block_m: tiles.block_m(), weights, inverse, block_shares }
        })
        .collect()
}

/// Attention of a block that is not worth a look at its keys: 128 such blocks have less than a hundredth.
const NEGLIGIBLE: f32 = 1.0 / 16384.0;

impl Panel<'_> {
    /// Q tile of a lane.
    pub(crate) fn tile(&self, lane: usize) -> usize {
        self.rows[lane] / self.block_m
    }

    /// Attention that one row gives one key.
    pub(crate) fn key_share(&self, key: usize, lane: usize) -> f32 {
        self.weights[key * LANES + lane] * self.inverse[lane]
    }

    /// Attention of one key, for each lane.
    pub(super) fn key_shares(&self, key: usize) -> [f32; LANES] {
        let weights = &self.weights[key * LANES..][..LANES];
        std::array::from_fn(|lane| weights[lane] * self.inverse[lane])
    }

    /// Adds to each key the attention of the rows that see it more than two blocks away from their diagonal: nearer
    /// keys are in blocks that every plan keeps. Blocks with hardly any attention are passed over, since a column has at
    /// most that of its block.
    pub(super) fn add_far_to_columns(&self, simd: Simd, tiles: Tiles, columns: &mut [f32]) {
        let near: [usize; LANES] = std::array::from_fn(|lane| tiles.full_blocks(self.tile(lane)).saturating_sub(1));
        let blocks = self.weights.chunks_exact(BLOCK_N * LANES).zip(columns.chunks_exact_mut(BLOCK_N));
        for (block, (weights, columns)) in blocks.enumerate() {
            let far = |lane: usize| block < near[lane];
            let share: f32 = (0..LANES).filter(|&lane| far(lane)).map(|lane| self.block_shares[block][lane]).sum();
            if share > NEGLIGIBLE * LANES as f32 {
                let factors = std::array::from_fn(|lane| if far(lane) { self.inverse[lane] } else { 0.0 });
                add_weighted_lanes(simd, weights, &factors, columns);
            }
        }
    }
}

crate::multiversion! {
    /// Keys `first_key ..` above a lane's position get -inf, whatever their logit is.
    fn hide_future(first_key: i32, positions: &[i32; LANES], logits: &mut [f32]) {
        for (key, logits) in (first_key..).zip(logits.as_chunks_mut().0) {
            *logits = each_lane(|lane| if key <= positions[lane] { logits[lane] } else { f32::NEG_INFINITY });
        }
    }
}

crate::multiversion! {
    fn raise_top(logits: &[f32], top: &mut [f32; LANES]) {
        let mut highest = *top;
        for logits in logits.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                highest[lane] = if logits[lane] > highest[lane] { logits[lane] } else { highest[lane] };
            }
        }
        *top = highest;
    }
}

crate::multiversion! {
    /// Base-2 logits to weights in place, and their sums by block.
    fn exponentiate(top: &[f32; LANES], logits: &mut [f32], sums: &mut [[f32; LANES]]) {
        for (logits, sums) in logits.chunks_exact_mut(BLOCK_N * LANES).zip(sums) {
            let mut sum = [0f32; LANES];
            for logits in logits.chunks_exact_mut(LANES) {
                for lane in 0..LANES {
                    logits[lane] = exp2::<FMA>(logits[lane] - top[lane]);
                    sum[lane] += logits[lane];
                }
            }
            *sums = sum;
        }
    }
}

crate::multiversion! {
    /// Adds to each column the sum over lanes of its weights times `factors`.
    fn add_weighted_lanes(weights: &[f32], factors: &[f32; LANES], columns: &mut [f32]) {
        for (weights, column) in weights.chunks_exact(LANES).zip(columns) {
            // A tree, because a running sum would wait for itself sixteen times.
            let all = each_lane(|lane| weights[lane] * factors[lane]);
            let eight: [f32; 8] = std::array::from_fn(|i| all[i] + all[i + 8]);
            let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
            *column += (four[0] + four[2]) + (four[1] + four[3]);
        }
    }
}
