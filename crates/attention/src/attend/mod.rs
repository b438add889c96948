//! The kernel: executes any plan.
//!
//! A unit of work is 64 query rows of one head. It walks *groups* of 64 keys: the kv blocks of its list, then the gathered
//! columns and centres of its head, which are stored like blocks. For each group
//!
//! ```text
//! scores[key][row] = K[key][.] Q[.][row]        multiply: the page's keys times packed queries
//! p = 2^(scores - m), rows' l, m updated        online softmax, vertical over keys, one lane a row
//! out[i][row] += V^T[i][key] p[key][row]        multiply: the page's values times packed p
//! ```
//!
//! Where `vdpbf16ps` is slow, both products are of 15-bit integers (`integers`): the first that reads a block rounds it for all.
//!
//! Tiles of a plan are one or more units, which share its list of blocks.
//!
//! All panels of the unit take each of the three steps together. A pair at a time would fit the first-level cache better,
//! but AMX tile loads cannot take their rows from stores still in flight, and waiting for those costs more.

mod batch;
mod extras;
mod integers;
mod softmax;

use crate::kv::KvView;
use crate::plan::{HeadPlan, Plan, SparsePlan};
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange, Tiles};
use crate::simd::{LANES, Rows, Simd, multiply};
use crate::{Aligned, BLOCK_M, BLOCK_N, Error};
use extras::Extras;
use half::bf16;
use integers::{IntegerGroup, IntegerQueries};
use rayon::prelude::*;
use softmax::RowState;
use std::sync::OnceLock;

pub use batch::{Sequence, attend_batch};

/// Attention output and log-sum-exp.
pub struct Output {
    heads: HeadShape,
    len: usize,
    o: Aligned<f32>,
    lse: Vec<f32>,
}

impl Output {
    /// Room for `len` queries.
    ///
    /// # Panics
    /// When the system has no such memory; see [`try_new`](Self::try_new).
    pub fn new(heads: HeadShape, len: usize) -> Self {
        Self::try_new(heads, len).expect("memory for the output of attention")
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// When the system has no such memory.
    pub fn try_new(heads: HeadShape, len: usize) -> Result<Self, Error> {
        let panels = heads.num_q_heads() * len.div_ceil(LANES);
        let o = Aligned::try_zeroed("the output of attention", panels * heads.padded_dim() * LANES)?;
        Ok(Self { heads, len, o, lse: vec![0.0; panels * LANES] })
    }

    fn num_panels(&self) -> usize {
        self.len.div_ceil(LANES)
    }

    /// Output of one panel of 16 queries of a head, `[head_dim][16]`.
    pub fn panel(&self, head: usize, panel: usize) -> &[f32] {
        let stride = self.heads.padded_dim() * LANES;
        &self.o[(head * self.num_panels() + panel) * stride..][..self.heads.head_dim() * LANES]
    }

    /// Output of one query, `[head_dim]`.
    pub fn row(&self, head: usize, row: usize) -> Vec<f32> {
        self.panel(head, row / LANES).chunks_exact(LANES).map(|lanes| lanes[row % LANES]).collect()
    }

    /// Natural logarithm of the sum of `exp(logit)` over the keys that query `row` of `head` computed.
    pub fn lse(&self, head: usize, row: usize) -> f32 {
        self.lse[head * self.num_panels() * LANES + row]
    }
}

/// Runs `plan` for the queries of `range` over the keys of `kv`, on the current rayon pool.
///
/// Only keys that the plan names are read, none past `kv_len`.
///
/// # Errors
/// When `queries`, `kv`, `range`, `plan` and `output` do not belong together.
pub fn attend(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    range: QueryRange,
    plan: &Plan,
    output: &mut Output,
) -> Result<(), Error> {
    attend_heads(simd, queries, kv, range, plan, output, |_| true)
}

/// [`attend`] for some of the query heads; the output of the others stays what it was.
pub(crate) fn attend_heads(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    range: QueryRange,
    plan: &Plan,
    output: &mut Output,
    wanted: impl Fn(usize) -> bool + Sync,
) -> Result<(), Error> {
    let heads = queries.heads();
    if kv.heads() != heads || output.heads != heads {
        return Err(Error::Plan("queries, keys and output have different heads".into()));
    }
    Error::check_len("queries", range.q_len(), queries.len())?;
    Error::check_len("output rows", range.q_len(), output.len)?;
    Error::check_len("keys", range.kv_len(), kv.kv_len())?;
    plan.check(heads.num_q_heads(), range)?;

    let gathered: Vec<Option<Extras>> = (plan.heads.par_iter().enumerate())
        .map(|(head, plan)| match plan {
            HeadPlan::Sparse(plan) if wanted(head) => Extras::gather(simd, kv, heads.kv_head(head), plan),
            _ => None,
        })
        .collect();

    let rounded = integers::rooms(simd, heads.num_kv_heads() * kv.num_blocks());
    let panels = output.num_panels();
    let unit_panels = BLOCK_M / LANES;
    let rows = Tiles::units(range);
    let stride = heads.padded_dim() * LANES;
    let units =
        output.o.par_chunks_mut(panels * stride).zip(output.lse.par_chunks_mut(panels * LANES)).enumerate().flat_map(
            |(head, (o, lse))| {
                let o = o.par_chunks_mut(unit_panels * stride);
                let lse = lse.par_chunks_mut(unit_panels * LANES);
                o.zip(lse).enumerate().map(move |(unit, (o, lse))| (head, unit, o, lse))
            },
        );
    units.filter(|(head, ..)| wanted(*head)).for_each(|(head, unit, o, lse)| {
        let of_head = heads.kv_head(head) * kv.num_blocks();
        let rounded = rounded.get(of_head..of_head + kv.num_blocks());
        let unit = Unit { simd, queries, kv, rounded, rows, head, unit };
        unit.run(&plan.heads[head], gathered[head].as_ref(), o, lse);
    });
    Ok(())
}

/// 64 query rows of one head.
struct Unit<'a> {
    simd: Simd,
    queries: &'a Queries,
    kv: &'a KvView<'a>,
    /// The blocks in integers, where those are multiplied.
    rounded: Option<&'a [OnceLock<IntegerGroup>]>,
    rows: Tiles,
    head: usize,
    /// Which of `rows`.
    unit: usize,
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

/// 64 keys and their values, and what hides some of them.
struct Group<'a> {
    keys: &'a [bf16],
    values: &'a [bf16],
    /// Both in integers, where those are multiplied, once somebody asked.
    rounded: Option<&'a OnceLock<IntegerGroup>>,
    /// Added to the base-2 logits of each key: 0, -inf or the weight of a centre.
    bias: Option<&'a [f32; BLOCK_N]>,
    /// Position of the first key, where the diagonal cuts the group.
    diagonal: Option<usize>,
    /// Position of the first key and the window, where the old end of a sliding window cuts the group.
    window: Option<(usize, usize)>,
}

impl Unit<'_> {
    fn run(&self, plan: &HeadPlan, extras: Option<&Extras>, o: &mut [f32], lse: &mut [f32]) {
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
        let rounded = group.rounded.map(|room| room.get_or_init(|| IntegerGroup::round(self.simd, group)));
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

#[cfg(test)]
mod tests;
