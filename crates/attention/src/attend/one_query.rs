//! One query of each head, as in decoding: keys and values are read once for all heads that share them.
//!
//! A panel of sixteen queries would leave all its lanes but one, or those of a group, without work. Here lanes are features of a
//! key, then keys of a block. Keys are cut into parts of a fixed length, which threads share and whose results are merged, so the
//! number of threads changes no bit.

mod part;

use super::Output;
use crate::BLOCK_N;
use crate::kv::KvView;
use crate::plan::{HeadPlan, Plan};
use crate::queries::Queries;
use crate::simd::{LANES, Simd};
use part::{Part, Scratch};
use rayon::prelude::*;
use std::cell::Cell;
use std::f32::consts::LN_2;

/// Blocks of a part: about ten microseconds of work.
const PART_BLOCKS: usize = 16;
/// Blocks that are done before another thread would have begun.
const AT_ONCE: usize = 32;

thread_local! {
    /// Results of the parts. Kept from layer to layer.
    static PARTS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// The oldest key that all heads see, where they see all keys from one on.
pub(super) fn first_key(plan: &Plan, kv_len: usize) -> Option<usize> {
    let first = |plan: &HeadPlan| match plan {
        HeadPlan::Dense => Some(0),
        HeadPlan::Window(window) => Some(kv_len.saturating_sub(*window)),
        HeadPlan::Sparse(_) => None,
    };
    let of_first = first(plan.heads.first()?)?;
    plan.heads.iter().all(|plan| first(plan) == Some(of_first)).then_some(of_first)
}

/// Attention of the one query of every head to the keys from `first_key` on.
pub(super) fn attend(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    first_key: usize,
    output: &mut Output,
    wanted: impl Fn(usize) -> bool + Sync,
) {
    let (heads, first_block) = (kv.heads(), first_key / BLOCK_N);
    let (group, blocks) = (heads.group_size(), kv.num_blocks() - first_block);
    let parts = blocks.div_ceil(PART_BLOCKS);
    let part_len = Part::len(group, heads.padded_dim());
    let mut room = PARTS.take();
    room.resize(heads.num_kv_heads() * parts * part_len, 0.0);
    let each = room.par_chunks_exact_mut(part_len).enumerate().with_min_len(AT_ONCE / PART_BLOCKS.min(blocks));
    each.for_each(|(at, result)| {
        let (kv_head, from) = (at / parts, first_block + at % parts * PART_BLOCKS);
        let blocks = from..(from + PART_BLOCKS).min(kv.num_blocks());
        let part = Part { simd, queries, kv, kv_head, keys: first_key..kv.kv_len() };
        let mut scratch = SCRATCH.take();
        part.run(blocks, &mut scratch, result);
        SCRATCH.set(scratch);
    });
    for head in (0..heads.num_q_heads()).filter(|head| wanted(*head)) {
        let parts = &room[heads.kv_head(head) * parts * part_len..][..parts * part_len];
        merge(parts, part_len, head % group, group, head, output);
    }
    PARTS.set(room);
}

/// Puts what the parts found for one head of their group together.
fn merge(parts: &[f32], part_len: usize, of_group: usize, group: usize, head: usize, output: &mut Output) {
    let dim = output.heads.padded_dim();
    let parts = || parts.chunks_exact(part_len).map(|part| Part::of_head(part, of_group, group));
    let top = parts().map(|(top, ..)| top).fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = parts().map(|(of_part, sum, _)| sum * (of_part - top).exp2()).sum();
    let panels = output.num_panels();
    output.lse[head * panels * LANES] = (top + sum.log2()) * LN_2;
    let o = &mut output.o[head * panels * dim * LANES..][..dim * LANES];
    o.chunks_exact_mut(LANES).for_each(|lanes| lanes[0] = 0.0);
    for (of_part, _, values) in parts() {
        let factor = (of_part - top).exp2() / sum;
        o.chunks_exact_mut(LANES).zip(values).for_each(|(lanes, value)| lanes[0] += factor * value);
    }
}
