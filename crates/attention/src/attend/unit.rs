//! A unit of work: 64 query rows of one head.

use super::extras::Extras;
use super::group::Group;
use super::integers::{IntegerGroup, IntegerQueries};
use super::softmax::{self, RowState};
use crate::kv::KvView;
use crate::plan::{HeadPlan, SparsePlan};
use crate::queries::Queries;
use crate::shape::Tiles;
use crate::simd::{LANES, Rows, Simd, multiply};
use crate::{Aligned, BLOCK_M, BLOCK_N};
use half::bf16;
use std::sync::OnceLock;

/// 64 query rows of one head.
pub(super) struct Unit<'a> {
    pub(super) simd: Simd,
    pub(super) queries: &'a Queries,
    pub(super) kv: &'a KvView<'a>,
    /// The blocks in integers, where those are multiplied.
    pub(super) rounded: Option<&'a [OnceLock<IntegerGroup>]>,
    pub(super) rows: Tiles,
    pub(super) head: usize,
    /// Which of `rows`.
    pub(super) unit: usize,
}

/// What a unit works in for one group of keys.
#[repr(C, align(64))]
struct Scratch {
    scores: [f32; BLOCK_M * BLOCK_N],
    /// Pairs of bf16 or of integers, which are worth `steps`.
    p: [[u32; LANES]; BLOCK_M / LANES * BLOCK_N / 2],
    steps: [[f32; LANES]; BLOCK_M / LANES],
    /// Where integers are multiplied.
    queries: Option<IntegerQueries>,
}

impl Unit<'_> {
    /// Attention of the rows by `plan`, and its log-sum-exp.
    pub(super) fn run(&self, plan: &HeadPlan, extras: Option<&Extras>, o: &mut [f32], lse: &mut [f32]) {
        o.fill(0.0);
        let stride = self.kv.heads().padded_dim() * LANES;
        let q = self.queries.panels(self.head, self.unit * (BLOCK_M / LANES), o.len() / stride);
        let mut scratch = Scratch {
            scores: [0.0; BLOCK_M * BLOCK_N],
            p: [[0; LANES]; BLOCK_M / LANES * BLOCK_N / 2],
            steps: [[0.0; LANES]; BLOCK_M / LANES],
            queries: self.rounded.map(|_| IntegerQueries::round(self.simd, q, o.len() / stride)),
        };
        let mut rows = [const { RowState::new() }; BLOCK_M / LANES];
        match plan {
            HeadPlan::Dense => {
                for block in 0..self.rows.causal_blocks(self.unit) {
                    self.absorb_block(block, None, &mut rows, &mut scratch, o);
                }
            }
            HeadPlan::Window(window) => {
                let positions = self.rows.positions(self.unit);
                let first = (positions.start + 1).saturating_sub(*window) / BLOCK_N;
                for block in first..self.rows.causal_blocks(self.unit) {
                    let cut = block * BLOCK_N + window < positions.end;
                    self.absorb_block(block, cut.then_some(*window), &mut rows, &mut scratch, o);
                }
            }
            HeadPlan::Sparse(plan) => self.absorb_tile(plan, extras, &mut rows, &mut scratch, o),
        }
        for ((o, lse), rows) in o.chunks_exact_mut(stride).zip(lse.chunks_exact_mut(LANES)).zip(&rows) {
            softmax::finish(self.simd, rows, o, lse);
        }
    }

    /// What the tile of the plan lists that is not in the unit's future.
    fn absorb_tile(
        &self,
        plan: &SparsePlan,
        extras: Option<&Extras>,
        rows: &mut [RowState],
        scratch: &mut Scratch,
        o: &mut [f32],
    ) {
        let tile = self.unit * BLOCK_M / plan.tiles().block_m();
        let (blocks, seen) = (plan.blocks(tile), self.rows.causal_blocks(self.unit));
        for block in blocks.iter().map(|block| *block as usize).take_while(|block| *block < seen) {
            self.absorb_block(block, None, rows, scratch, o);
        }
        let Some(extras) = extras else { return };
        // By the tile, not the unit: blocks that only some of its units see whole are listed.
        let bias = extras.bias_of_tile(blocks, plan.tiles().full_blocks(tile));
        for (group, bias) in bias.iter().enumerate() {
            if bias.iter().any(|bias| *bias > f32::NEG_INFINITY) {
                let group = Group { bias: Some(bias), ..extras.group(group) };
                self.absorb(&group, rows, scratch, o);
            }
        }
    }

    fn absorb_block(
        &self,
        block: usize,
        window: Option<usize>,
        rows: &mut [RowState],
        scratch: &mut Scratch,
        o: &mut [f32],
    ) {
        let kv_head = self.kv.heads().kv_head(self.head);
        let (keys, values) = (self.kv.keys(block, kv_head), self.kv.values(block, kv_head));
        let diagonal = (block >= self.rows.full_blocks(self.unit)).then_some(block * BLOCK_N);
        let window = window.map(|window| (block * BLOCK_N, window));
        let rounded = self.rounded.map(|rounded| &rounded[block]);
        let filled = self.kv.kv_len() - block * BLOCK_N;
        let group = |keys, values| Group { keys, values, rounded, bias: None, diagonal, window };
        if filled < BLOCK_N {
            // The rest of the page may hold anything, NaN too, and 0 * NaN is NaN: work on a clean copy.
            let (keys, values) = clean_copy(keys, values, filled);
            self.absorb(&group(&keys, &values), rows, scratch, o);
        } else {
            self.absorb(&group(keys, values), rows, scratch, o);
        }
    }

    fn absorb(&self, group: &Group, rows: &mut [RowState], scratch: &mut Scratch, o: &mut [f32]) {
        let dim = self.kv.heads().padded_dim();
        let panels = o.len() / (dim * LANES);
        const OF_PANEL: usize = BLOCK_N * LANES;
        let rounded =
            group.rounded.map(|room| room.get_or_init(|| IntegerGroup::round(self.simd, group.keys, group.values)));
        let Scratch { scores, p, steps, queries } = scratch;
        match (rounded, queries.as_ref()) {
            (Some(group), Some(queries)) => group.score(self.simd, queries, scores),
            _ => {
                let keys = Rows::row_major(group.keys, BLOCK_N, dim, dim);
                let q = self.queries.panels(self.head, self.unit * (BLOCK_M / LANES), panels);
                multiply(self.simd, keys, q, panels, scores, OF_PANEL, false);
            }
        }
        for (panel, (rows, o)) in rows.iter_mut().zip(o.chunks_exact_mut(dim * LANES)).enumerate() {
            let scores = &mut scores[panel * OF_PANEL..][..OF_PANEL];
            self.hide(group, panel, scores);
            let p = &mut p[panel * BLOCK_N / 2..][..BLOCK_N / 2];
            match rounded {
                Some(_) => softmax::absorb_in_integers(self.simd, scores, rows, o, p, &mut steps[panel]),
                None => softmax::absorb(self.simd, scores, rows, o, p.as_flattened_mut()),
            }
        }
        match rounded {
            Some(group) => group.add_values(self.simd, &p[..panels * BLOCK_N / 2], &steps[..panels], o),
            None => {
                let values = Rows::row_major(group.values, dim, BLOCK_N, BLOCK_N);
                multiply(self.simd, values, bytemuck::cast_slice(&p[..]), panels, o, dim * LANES, true);
            }
        }
    }

    /// Adds to the scores of a panel what hides or weighs keys of the group.
    fn hide(&self, group: &Group, panel: usize, scores: &mut [f32]) {
        let first_row = self.rows.positions(self.unit).start + panel * LANES;
        if let Some(bias) = group.bias {
            softmax::add_bias(self.simd, bias, scores);
        }
        if let Some(first_key) = group.diagonal {
            softmax::hide_future(self.simd, first_row as i32, first_key as i32, scores);
        }
        if let Some((first_key, window)) = group.window {
            let oldest = (first_row + 1) as i32 - window as i32;
            softmax::hide_past(self.simd, oldest, first_key as i32, scores);
        }
    }
}

fn clean_copy(keys: &[bf16], values: &[bf16], filled: usize) -> (Aligned<bf16>, Aligned<bf16>) {
    let mut clean_keys = Aligned::zeroed(keys.len());
    let mut clean_values = Aligned::zeroed(values.len());
    let dim = keys.len() / BLOCK_N;
    clean_keys[..filled * dim].copy_from_slice(&keys[..filled * dim]);
    for (clean, row) in clean_values.chunks_exact_mut(BLOCK_N).zip(values.chunks_exact(BLOCK_N)) {
        clean[..filled].copy_from_slice(&row[..filled]);
    }
    (clean_keys, clean_values)
}
