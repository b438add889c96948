//! What units multiply where products are of 15-bit integers.

use crate::simd::integers::{IntegerRows, PanelsOfIntegers, multiply, round_panels};
use crate::simd::{LANES, Simd};
use crate::{Aligned, BLOCK_N};
use half::bf16;
use std::sync::OnceLock;

/// Keys and values of a group, rounded once for all units that see it.
pub(super) struct IntegerGroup {
    keys: IntegerRows,
    values: IntegerRows,
}

/// Whether that many queries multiply integers. Those of one panel, as in decoding, take about as long as rounding what they read.
pub(super) fn pay(simd: Simd, queries: usize) -> bool {
    simd.attends_in_integers() && queries > LANES
}

/// Rooms for so many groups; none where integers do not pay.
pub(super) fn rooms(pay: bool, groups: usize) -> Vec<OnceLock<IntegerGroup>> {
    let groups = if pay { groups } else { 0 };
    (0..groups).map(|_| OnceLock::new()).collect()
}

impl IntegerGroup {
    /// Keys `[64][dim]` and values `[dim][64]`.
    pub(super) fn round(simd: Simd, keys: &[bf16], values: &[bf16]) -> Self {
        let dim = keys.len() / BLOCK_N;
        Self { keys: IntegerRows::round(simd, keys, dim), values: IntegerRows::round(simd, values, BLOCK_N) }
    }

    /// Scores `[panel][64][16]` of the queries of a unit.
    pub(super) fn score(&self, simd: Simd, queries: &IntegerQueries, scores: &mut [f32]) {
        let q = PanelsOfIntegers { numbers: queries.numbers(), steps: &queries.steps };
        multiply(simd, &self.keys, q, scores, BLOCK_N * LANES, false);
    }

    /// Adds the values times the weights `p`, pairs that are worth `steps`, to `o` `[panel][dim][16]`.
    pub(super) fn add_values(&self, simd: Simd, p: &[[u32; LANES]], steps: &[[f32; LANES]], o: &mut [f32]) {
        let stride = o.len() / steps.len();
        multiply(simd, &self.values, PanelsOfIntegers { numbers: p, steps }, o, stride, true);
    }
}

/// The queries of a unit.
pub(super) struct IntegerQueries {
    numbers: Aligned<u32>,
    steps: Vec<[f32; LANES]>,
}

impl IntegerQueries {
    /// Rounds so many packed panels.
    pub(super) fn round(simd: Simd, packed: &[bf16], panels: usize) -> Self {
        let (mut numbers, mut steps) = (Aligned::zeroed(packed.len() / 2), vec![[0.0; LANES]; panels]);
        round_panels(simd, packed, bytemuck::cast_slice_mut(&mut numbers), &mut steps);
        Self { numbers, steps }
    }

    fn numbers(&self) -> &[[u32; LANES]] {
        bytemuck::cast_slice(&self.numbers)
    }
}
