//! Which experts a token takes.

use super::{Tokens, elementwise};
use crate::config::Experts;
use attention::multiversion;
use attention::simd::{LANES, Simd, fma};
use rayon::prelude::*;
use std::cmp::Ordering;

/// An expert of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub(super) expert: u32,
    /// What its output is multiplied by.
    pub(super) share: f32,
}

/// Rows of a router that pass a panel together.
const ROWS: usize = 4;

/// Chooses `experts.per_token` experts for each token, ascending; `logits` is room for `[panel][experts][16]`.
pub(super) fn choose(
    simd: Simd,
    experts: &Experts,
    router: &[f32],
    x: &Tokens,
    eps: f32,
    logits: &mut [f32],
    choices: &mut [Choice],
) {
    let (features, of_panel) = (x.features, experts.count * LANES);
    assert!(router.len() == experts.count * features && choices.len() == x.len * experts.per_token);
    let panels = || x.panels.par_chunks(x.stride()).map(|panel| &panel[..features * LANES]);
    logits.par_chunks_mut(of_panel).zip(panels()).for_each(|(logits, x)| {
        let rows = logits.par_chunks_mut(ROWS * LANES).zip(router.par_chunks(ROWS * features));
        rows.for_each(|(logits, rows)| products(simd, x, rows, logits));
    });
    let tokens = choices.par_chunks_mut(LANES * experts.per_token).zip(logits.par_chunks(of_panel));
    tokens.zip(panels()).for_each(|((choices, logits), x)| {
        let scales = elementwise::rms_scales(simd, x, eps);
        let (mut shares, mut order) = (vec![0.0; experts.count], Vec::new());
        for (lane, choices) in choices.chunks_exact_mut(experts.per_token).enumerate() {
            let logits = logits.chunks_exact(LANES).map(|lanes| lanes[lane] * scales[lane]);
            shares.iter_mut().zip(logits).for_each(|(share, logit)| *share = logit);
            softmax(&mut shares);
            largest(&shares, experts.normalised, &mut order, choices);
        }
    });
}

multiversion! {
    /// Products of rows of a router with a panel `[features][16]`: `[rows][16]`.
    fn products(x: &[f32], rows: &[f32], out: &mut [f32]) {
        let (x, out) = (x.as_chunks::<LANES>().0, out.as_chunks_mut::<LANES>().0);
        let features = x.len();
        if rows.len() == ROWS * features {
            let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * features..][..features]);
            out.copy_from_slice(&products_of::<FMA, ROWS>(x, rows));
        } else {
            for (row, out) in rows.chunks_exact(features).zip(out) {
                [*out] = products_of::<FMA, 1>(x, [row]);
            }
        }
    }
}

#[inline(always)]
fn products_of<const FMA: bool, const N: usize>(x: &[[f32; LANES]], rows: [&[f32]; N]) -> [[f32; LANES]; N] {
    let mut sums = [[0.0; LANES]; N];
    for (feature, x) in x.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = fma::<FMA>(*x, row[feature], *sum);
            }
        }
    }
    sums
}

fn softmax(x: &mut [f32]) {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

/// The experts of the largest shares, the first ones of those with the same, ascending.
fn largest(shares: &[f32], normalised: bool, order: &mut Vec<u32>, choices: &mut [Choice]) {
    order.clear();
    order.extend(0..shares.len() as u32);
    let by_share =
        |a: &u32, b: &u32| -> Ordering { shares[*b as usize].total_cmp(&shares[*a as usize]).then(a.cmp(b)) };
    order.select_nth_unstable_by(choices.len() - 1, by_share);
    let chosen = &mut order[..choices.len()];
    chosen.sort_unstable();
    let sum: f32 = chosen.iter().map(|expert| shares[*expert as usize]).sum();
    for (choice, expert) in choices.iter_mut().zip(chosen) {
        let share = shares[*expert as usize];
        *choice = Choice { expert: *expert, share: if normalised { share / sum } else { share } };
    }
}

#[cfg(test)]
mod tests;
