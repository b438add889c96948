//! Online softmax in base 2, vertical: lane = row, so no shuffle and no horizontal reduction.

use crate::BLOCK_N;
use crate::simd::integers::{LARGEST_NORM, pair_of};
use crate::simd::{LANES, each_lane, exp2};
use std::f32::consts::LN_2;

/// Running maximum and sum of sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct RowState {
    /// Reference exponent: at most [`SLACK`] below the true maximum, so that most groups need no rescaling.
    m: [f32; LANES],
    /// Sum of `2^(score - m)`.
    l: [f32; LANES],
}

impl RowState {
    pub(super) const fn new() -> Self {
        Self { m: [f32::NEG_INFINITY; LANES], l: [0.0; LANES] }
    }
}

/// A row is rescaled only when its maximum grew by more than this many powers of two: `p` then stays below 2^8, far
/// inside the range where f32 sums and bf16 products keep their relative precision.
const SLACK: f32 = 8.0;

crate::multiversion! {
    /// Adds one number to all rows' scores of each key.
    pub(super) fn add_bias(bias: &[f32; 64], scores: &mut [f32]) {
        for (scores, bias) in scores.as_chunks_mut().0.iter_mut().zip(bias) {
            *scores = each_lane(|lane| scores[lane] + bias);
        }
    }
}

crate::multiversion! {
    /// Hides keys at positions above their row's. Rows stand at `first_row ..`, keys at `first_key ..`.
    pub(super) fn hide_future(first_row: i32, first_key: i32, scores: &mut [f32]) {
        for (key, scores) in scores.chunks_exact_mut(LANES).enumerate() {
            let key = first_key + key as i32;
            for lane in 0..LANES {
                scores[lane] = if key <= first_row + lane as i32 { scores[lane] } else { f32::NEG_INFINITY };
            }
        }
    }
}

crate::multiversion! {
    /// Hides keys that have left their row's window. The first row sees keys from `oldest` on, each next row from one later.
    pub(super) fn hide_past(oldest: i32, first_key: i32, scores: &mut [f32]) {
        for (key, scores) in (first_key..).zip(scores.as_chunks_mut().0) {
            *scores = each_lane(|lane| if key >= oldest + lane as i32 { scores[lane] } else { f32::NEG_INFINITY });
        }
    }
}

/// The largest scores of a group `[64][16]`. Where one is far above the rows' reference, that follows, and `o` (`[dim][16]`) and the
/// sums with it.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn follow<const FMA: bool>(scores: &[f32], rows: &mut RowState, o: &mut [f32]) -> [f32; LANES] {
    let mut top = [f32::NEG_INFINITY; LANES];
    for scores in scores.chunks_exact(LANES) {
        for lane in 0..LANES {
            top[lane] = if scores[lane] > top[lane] { scores[lane] } else { top[lane] };
        }
    }
    let mut grew = false;
    for lane in 0..LANES {
        grew |= top[lane] > rows.m[lane] + SLACK;
    }
    if grew {
        let mut factor = [1f32; LANES];
        for lane in 0..LANES {
            let m = if top[lane] > rows.m[lane] { top[lane] } else { rows.m[lane] };
            // A row that has seen no key has m = -inf twice: nothing to rescale.
            factor[lane] = if m == rows.m[lane] { 1.0 } else { exp2::<FMA>(rows.m[lane] - m) };
            rows.m[lane] = m;
            rows.l[lane] *= factor[lane];
        }
        for o in o.as_chunks_mut().0 {
            *o = each_lane(|lane| o[lane] * factor[lane]);
        }
    }
    top
}

crate::multiversion! {
    /// Takes the scores of a group `[64][16]` into the running state, rescales `o` (`[dim][16]`) where a maximum grew,
    /// and leaves `p` packed `[32][16]` pairs of bf16 as the right operand of the values' product.
    pub(super) fn absorb(scores: &[f32], rows: &mut RowState, o: &mut [f32], p: &mut [u32]) {
        follow::<FMA>(scores, rows, o);
        let mut m = [0f32; LANES];
        for lane in 0..LANES {
            m[lane] = if rows.m[lane] == f32::NEG_INFINITY { 0.0 } else { rows.m[lane] };
        }
        let mut l = rows.l;
        for (scores, p) in scores.chunks_exact(2 * LANES).zip(p.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                let low = exp2::<FMA>(scores[lane] - m[lane]);
                let high = exp2::<FMA>(scores[LANES + lane] - m[lane]);
                l[lane] += low + high;
                // Nearest bf16, ties up: p is never negative, infinite or NaN.
                let (low, high) = (low.to_bits() + 0x8000, high.to_bits() + 0x8000);
                p[lane] = (low >> 16) | (high & 0xffff_0000);
            }
        }
        rows.l = l;
    }
}

/// The largest weight of a row in a group is 2 to this power. The other weights are as fine beside it: beside the row's largest weight
/// of all groups, those of a group far below would be rounded away together.
const WEIGHT_BITS: i32 = 13;
// The weights of a group are a right operand of integers.
const _: () = assert!(BLOCK_N << (2 * WEIGHT_BITS) <= LARGEST_NORM * LARGEST_NORM);

crate::multiversion! {
    /// As [`absorb`], but `p` is pairs of integers, which are worth `steps`.
    pub(super) fn absorb_in_integers(
        scores: &[f32], rows: &mut RowState, o: &mut [f32], p: &mut [[u32; LANES]], steps: &mut [f32; LANES],
    ) {
        let top = follow::<FMA>(scores, rows, o);
        let mut base = [0f32; LANES];
        for lane in 0..LANES {
            // Where the row sees nothing of the group, all its weights are 0, whatever they are worth.
            let seen = top[lane] > f32::NEG_INFINITY;
            base[lane] = if seen { top[lane] - WEIGHT_BITS as f32 } else { 0.0 };
            steps[lane] = if seen { exp2::<FMA>(base[lane] - rows.m[lane]) } else { 0.0 };
        }
        let mut sum = [0f32; LANES];
        for (scores, p) in scores.chunks_exact(2 * LANES).zip(p) {
            for lane in 0..LANES {
                let low = exp2::<FMA>(scores[lane] - base[lane]);
                let high = exp2::<FMA>(scores[LANES + lane] - base[lane]);
                sum[lane] += low + high;
                p[lane] = pair_of(low, high);
            }
        }
        for lane in 0..LANES {
            rows.l[lane] += sum[lane] * steps[lane];
        }
    }
}

crate::multiversion! {
    /// Divides `o` (`[dim][16]`) by the rows' sums and writes their natural log-sum-exp.
    pub(super) fn finish(rows: &RowState, o: &mut [f32], lse: &mut [f32]) {
        let mut inverse = [0f32; LANES];
        for lane in 0..LANES {
            inverse[lane] = if rows.l[lane] > 0.0 { 1.0 / rows.l[lane] } else { 0.0 };
            lse[lane] = (rows.m[lane] + rows.l[lane].log2()) * LN_2;
        }
        for o in o.as_chunks_mut().0 {
            *o = each_lane(|lane| o[lane] * inverse[lane]);
        }
    }
}
