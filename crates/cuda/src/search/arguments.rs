//! What the kernels of the search are told: mirrors `kernels/search/arguments.cuh`.

use crate::batch::BatchArguments;
use crate::device::{Pointer, PointerMut};
use crate::plan::{Extra, PlanExtras, PlanItem};
use bytemuck::{Pod, Zeroable};
use half::bf16;

pub(super) const NUM_LEVELS: usize = 29;
pub(super) const NUM_FAMILIES: usize = 3;
pub(super) const MOST_COUNTS: usize = 4;
pub(super) const NUM_KINDS: usize = MOST_COUNTS;
pub(crate) const MOST_COLUMNS: usize = 1024;
#[cfg(test)]
pub(super) const MOST_PARTS: usize = 72;

/// `Costs`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Costs {
    pub gathered_step: f64,
    pub gather_key: f64,
    pub gather_centre: f64,
    pub tile: f64,
}

/// `Candidate`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Candidate {
    pub level: i32,
    pub columns: i32,
    pub recall: f64,
    pub cost: f64,
}

/// `Choice`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Choice {
    pub family: i32,
    pub level: i32,
    pub columns: i32,
    pub unused: i32,
    pub recall: f64,
    pub cost: f64,
}

/// `Search`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    pub q: Pointer<bf16>,
    pub k: Pointer<bf16>,
    pub v: Pointer<bf16>,
    pub k_means: PointerMut<f32>,
    pub v_means: PointerMut<f32>,
    pub k_means_bf16: PointerMut<bf16>,
    pub batch: BatchArguments,
    pub probes: Pointer<i32>,
    pub distance_steps: Pointer<u32>,
    pub tile_begins: Pointer<i32>,
    pub levels: PointerMut<u8>,
    pub level_steps: PointerMut<u32>,
    pub shares: PointerMut<f32>,
    pub probe_lse: PointerMut<f32>,
    pub distance_levels: PointerMut<u8>,
    pub column_mass: PointerMut<u32>,
    pub ranked_columns: PointerMut<i32>,
    pub columns_found: PointerMut<i32>,
    pub sums: PointerMut<u32>,
    pub always: PointerMut<u32>,
    pub candidates: PointerMut<Candidate>,
    pub choices: PointerMut<Choice>,
    pub part_levels: PointerMut<u8>,
    pub columns: PointerMut<i32>,
    pub totals: PointerMut<u64>,
    pub items: PointerMut<PlanItem>,
    pub order: PointerMut<u32>,
    pub listed: PointerMut<u32>,
    pub indices: PointerMut<i32>,
    pub heads: PointerMut<PlanExtras>,
    pub extras: PointerMut<Extra>,
    pub k_extras: PointerMut<bf16>,
    pub v_extras: PointerMut<bf16>,
    pub costs: Costs,
    pub dense_cost: f64,
    pub margin: f64,
    pub share: f64,
    pub share_of_part: f64,
    pub dense_pairs_cost: f64,
    pub causal_pairs: f64,
    pub goal: i32,
    pub families: u32,
    pub counts: [i32; MOST_COUNTS],
    pub num_counts: i32,
    pub centres: i32,
    pub sparse_tiles: i32,
    pub always_steps: u32,
    pub num_probes: i32,
    pub head_dim: i32,
    pub q_len: i32,
    pub kv_len: i32,
    pub num_tiles: i32,
    pub num_blocks: i32,
    pub block_m: i32,
    pub last_rows: i32,
    pub column_room: i32,
    pub extra_rows: i32,
    pub own_levels: i32,
    pub sm_scale: f32,
}

// As `static_assert`ed in the kernels.
const _: () = assert!(size_of::<Arguments>() == 472 && std::mem::offset_of!(Arguments, sm_scale) == 468);
