//! Columns and centres of a head, gathered into groups of 64 that look like blocks.

use super::group::Group;
use super::integers::{self, IntegerGroup};
use crate::kv::KvView;
use crate::plan::SparsePlan;
use crate::{Aligned, BLOCK_N};
use half::bf16;
use std::sync::OnceLock;

/// Gathered once a head. Which of them a tile uses is a bias on their logits: 0 for a column outside the tile's blocks,
/// `log2(n)` for the centre of a left-out block, -inf for the others.
pub(super) struct Extras {
    dim: usize,
    /// `[group][64][dim]`.
    keys: Aligned<bf16>,
    /// `[group][dim][64]`.
    values: Aligned<bf16>,
    /// Both in integers, where those are multiplied.
    rounded: Vec<OnceLock<IntegerGroup>>,
    /// For each block, where its columns start among the columns; one entry more than blocks.
    first_column: Vec<u32>,
    /// Slot of the centre of block 0, when there are centres.
    centres: Option<usize>,
    num_groups: usize,
}

impl Extras {
    /// Rounded where `integers` are multiplied. `None` when the plan has neither columns nor centres.
    pub(super) fn gather(integers: bool, kv: &KvView, kv_head: usize, plan: &SparsePlan) -> Option<Self> {
        let columns = plan.columns();
        // A block that is not full is always on the diagonal, so it never needs a centre.
        let num_centres = if plan.centres() { kv.kv_len() / BLOCK_N } else { 0 };
        if columns.is_empty() && num_centres == 0 {
            return None;
        }
        let centres_at = columns.len().next_multiple_of(BLOCK_N);
        let num_groups = (centres_at + num_centres).div_ceil(BLOCK_N);
        let dim = kv.heads().padded_dim();
        let mut extras = Self {
            dim,
            keys: Aligned::zeroed(num_groups * BLOCK_N * dim),
            values: Aligned::zeroed(num_groups * BLOCK_N * dim),
            rounded: integers::rooms(integers, num_groups),
            first_column: Vec::with_capacity(kv.num_blocks() + 1),
            centres: plan.centres().then_some(centres_at),
            num_groups,
        };
        let mut next = 0;
        for block in 0..=kv.num_blocks() {
            while columns.get(next).is_some_and(|&c| (c as usize) < block * BLOCK_N) {
                next += 1;
            }
            extras.first_column.push(next as u32);
        }
        for (slot, &column) in columns.iter().enumerate() {
            let (block, row) = (column as usize / BLOCK_N, column as usize % BLOCK_N);
            let (key, values) = (&kv.keys(block, kv_head)[row * dim..][..dim], kv.values(block, kv_head));
            extras.put(slot, |i| (key[i], values[i * BLOCK_N + row]));
        }
        for block in 0..num_centres {
            extras.put_centre(kv, kv_head, block, centres_at + block, columns);
        }
        Some(extras)
    }

    fn put(&mut self, slot: usize, key_and_value: impl Fn(usize) -> (bf16, bf16)) {
        let base = slot / BLOCK_N * BLOCK_N * self.dim;
        for i in 0..self.dim {
            let (key, value) = key_and_value(i);
            self.keys[base + slot % BLOCK_N * self.dim + i] = key;
            self.values[base + i * BLOCK_N + slot % BLOCK_N] = value;
        }
    }

    /// Means over the keys of a full block that are not columns.
    fn put_centre(&mut self, kv: &KvView, kv_head: usize, block: usize, slot: usize, columns: &[u32]) {
        let own = &columns[self.first_column[block] as usize..self.first_column[block + 1] as usize];
        let (mean_key, mean_value) = (kv.key_mean(block, kv_head), kv.value_mean(block, kv_head));
        let rest = BLOCK_N - own.len();
        if own.is_empty() {
            self.put(slot, |i| (bf16::from_f32(mean_key[i]), bf16::from_f32(mean_value[i])));
        } else if rest > 0 {
            let (keys, values) = (kv.keys(block, kv_head), kv.values(block, kv_head));
            let without = |mean: f32, taken: f32| bf16::from_f32((mean * BLOCK_N as f32 - taken) / rest as f32);
            let rows = || own.iter().map(|&c| c as usize % BLOCK_N);
            let dim = self.dim;
            self.put(slot, |i| {
                let key: f32 = rows().map(|row| keys[row * dim + i].to_f32()).sum();
                let value: f32 = rows().map(|row| values[i * BLOCK_N + row].to_f32()).sum();
                (without(mean_key[i], key), without(mean_value[i], value))
            });
        }
    }

    /// Keys `[64][dim]` and values `[dim][64]` of a group.
    pub(super) fn group(&self, group: usize) -> Group<'_> {
        let of_group = group * BLOCK_N * self.dim..(group + 1) * BLOCK_N * self.dim;
        let (keys, values) = (&self.keys[of_group.clone()], &self.values[of_group]);
        Group { keys, values, rounded: self.rounded.get(group), bias: None, diagonal: None, window: None }
    }

    /// For each group the bias of its 64 keys in a tile that computes `blocks` and sees the first `full` blocks whole.
    pub(super) fn bias_of_tile(&self, blocks: &[u32], full: usize) -> Vec<[f32; BLOCK_N]> {
        let mut bias = vec![[f32::NEG_INFINITY; BLOCK_N]; self.num_groups];
        let slots = bias.as_flattened_mut();
        let columns_of = |block: usize| self.first_column[block] as usize..self.first_column[block + 1] as usize;
        slots[..self.first_column[full] as usize].fill(0.0);
        for &block in blocks.iter().filter(|&&b| (b as usize) < full) {
            slots[columns_of(block as usize)].fill(f32::NEG_INFINITY);
        }
        if let Some(first) = self.centres {
            for block in 0..full {
                let rest = BLOCK_N - columns_of(block).len();
                slots[first + block] = (rest as f32).log2(); // log2(0) = -inf: all its keys are columns
            }
            for &block in blocks.iter().filter(|&&b| (b as usize) < full) {
                slots[first + block as usize] = f32::NEG_INFINITY;
            }
        }
        bias
    }
}
