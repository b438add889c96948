//! Which plans a head could have, what each would keep and cost.
//!
//! A family gives every (q tile, fully visible block) a *level*; keeping levels `0 ..= n` for each `n`, with each of a few
//! column counts, is a candidate. One pass over the levels fills a histogram, whose running sums are the recall and the
//! steps of every cut at once, so a family costs the same however many candidates it has.

// Lanes index several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::Search;
use super::probe::{Panel, Probes};
use crate::pattern::BlockLevels;
use crate::shape::QueryRange;
use crate::simd::{LANES, Simd};
use crate::{BLOCK_M, BLOCK_N};

/// Where the levels come from.
#[derive(Clone, Debug)]
pub(super) enum Family {
    /// Row-peak scores.
    BlockCluster,
    /// Rank of the block diagonal by the attention that proposing probes give it, in powers of two.
    Slash { level_of_distance: Vec<u8> },
    /// Distance to the diagonal, in powers of two.
    Window,
}

/// A plan in the making.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub family: Family,
    pub max_level: u8,
    pub columns: Vec<u32>,
    pub recall: f64,
}

/// Numbers of columns to try. A group of 64 costs every tile one step.
const COLUMN_COUNTS: [usize; 4] = [0, 64, 256, 1024];
const NUM_LEVELS: usize = BlockLevels::MAX as usize + 1;

/// The cheapest candidate that meets the recall target and beats dense; `None` if there is none.
pub(super) fn cheapest(
    simd: Simd,
    search: &Search,
    range: QueryRange,
    last_rows: usize,
    levels: &BlockLevels,
    probes: &Probes,
) -> Option<Candidate> {
    let judges: Vec<Judge> = probes.judging.iter().map(|panel| Judge::new(simd, panel)).collect();
    let families = [
        Family::BlockCluster,
        Family::Slash { level_of_distance: rank_distances(simd, range, &probes.proposing) },
        Family::Window,
    ];
    let ranked = rank_columns(simd, range, &probes.proposing);
    let column_sets: Vec<Vec<u32>> = COLUMN_COUNTS
        .iter()
        .filter(|&&count| count <= ranked.len())
        .map(|&count| {
            let mut columns = ranked[..count].to_vec();
            columns.sort_unstable();
            columns
        })
        .collect();

    let mut best: Option<Candidate> = None;
    let mut least = search.cost.margin * search.cost.dense(range);
    for family in &families {
        let level_of = |tile: usize, block: usize| family.level(range, levels, tile, block);
        let steps = steps_by_level(range, last_rows, level_of);
        for columns in &column_sets {
            let recall = recall_by_level(range, last_rows, &judges, columns, level_of);
            let Some(max_level) = (0..NUM_LEVELS).find(|&level| recall[level] >= search.recall as f64) else {
                continue;
            };
            let centres = if search.centres { range.num_blocks() } else { 0 };
            let sparse_tiles = range.num_tiles() - dense_tiles(range, last_rows);
            let cost = search.cost.sparse(range, steps[max_level], sparse_tiles, columns.len(), centres);
            if cost < least {
                least = cost;
                best = Some(Candidate {
                    family: family.clone(),
                    max_level: max_level as u8,
                    columns: columns.clone(),
                    recall: recall[max_level],
                });
            }
        }
    }
    best
}

impl Family {
    /// Level of a fully visible block. The sink and the newest of them are always kept.
    fn level(&self, range: QueryRange, levels: &BlockLevels, tile: usize, block: usize) -> u8 {
        if block == 0 || block + 1 == range.full_blocks(tile) {
            return 0;
        }
        match self {
            Family::BlockCluster => levels.of_tile(tile)[block],
            Family::Slash { level_of_distance } => level_of_distance[distance(range, tile, block)],
            // Windows of 64, 128, 256, ...: the newest key of a block `n` blocks back is within a window of 64 n.
            Family::Window => ceil_log2(distance(range, tile, block)),
        }
    }
}

/// Blocks from a block to the tile's diagonal.
fn distance(range: QueryRange, tile: usize, block: usize) -> usize {
    range.tile_positions(tile).start / BLOCK_N - block
}

fn ceil_log2(n: usize) -> u8 {
    n.next_power_of_two().trailing_zeros() as u8
}

fn sees_all(range: QueryRange, last_rows: usize, tile: usize) -> bool {
    range.tile_positions(tile).end + last_rows > range.kv_len()
}

fn dense_tiles(range: QueryRange, last_rows: usize) -> usize {
    (0..range.num_tiles()).rev().take_while(|&tile| sees_all(range, last_rows, tile)).count()
}

/// Block steps of all tiles when levels `0 ..= n` are kept, for each `n`.
fn steps_by_level(range: QueryRange, last_rows: usize, level_of: impl Fn(usize, usize) -> u8) -> [u64; NUM_LEVELS] {
    let mut steps = [0u64; NUM_LEVELS];
    for tile in 0..range.num_tiles() {
        let (full, causal) = (range.full_blocks(tile), range.causal_blocks(tile));
        if sees_all(range, last_rows, tile) {
            steps[0] += causal as u64;
        } else {
            steps[0] += (causal - full) as u64;
            (0..full).for_each(|block| steps[level_of(tile, block) as usize] += 1);
        }
    }
    for level in 1..NUM_LEVELS {
        steps[level] += steps[level - 1];
    }
    steps
}

/// A judging panel with its attention summed by block.
struct Judge<'a> {
    panel: &'a Panel,
    block_shares: Vec<[f32; LANES]>,
}

impl<'a> Judge<'a> {
    fn new(simd: Simd, panel: &'a Panel) -> Self {
        Self { panel, block_shares: panel.block_shares(simd) }
    }
}

/// Mean attention kept by the judging probes when levels `0 ..= n` and `columns` are kept, for each `n`.
fn recall_by_level(
    range: QueryRange,
    last_rows: usize,
    judges: &[Judge],
    columns: &[u32],
    level_of: impl Fn(usize, usize) -> u8,
) -> [f64; NUM_LEVELS] {
    let mut kept = [0f64; NUM_LEVELS];
    for judge in judges {
        let mut column_shares = vec![[0f32; LANES]; range.num_blocks()];
        for &column in columns {
            let shares = &judge.panel.shares[column as usize * LANES..][..LANES];
            let sums = &mut column_shares[column as usize / BLOCK_N];
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
        for lane in 0..LANES {
            let tile = judge.panel.tile(lane);
            if sees_all(range, last_rows, tile) {
                kept[0] += 1.0;
                continue;
            }
            let full = range.full_blocks(tile);
            for block in 0..range.causal_blocks(tile) {
                let share = judge.block_shares[block][lane];
                if block >= full {
                    kept[0] += share as f64;
                } else {
                    let columns = column_shares[block][lane];
                    kept[0] += columns as f64;
                    kept[level_of(tile, block) as usize] += (share - columns) as f64;
                }
            }
        }
    }
    let mut sum = 0.0;
    kept.map(|share| {
        sum += share;
        sum / (judges.len() * LANES) as f64
    })
}

/// Columns by the attention of the proposing probes, most first; columns of the sink block are always kept as a block.
fn rank_columns(simd: Simd, range: QueryRange, proposing: &[Panel]) -> Vec<u32> {
    let mut mass = vec![0f32; range.num_blocks() * BLOCK_N];
    for panel in proposing {
        panel.add_far_to_columns(simd, range, &mut mass);
    }
    let mut ranked: Vec<u32> = (BLOCK_N as u32..range.kv_len() as u32).filter(|&c| mass[c as usize] > 0.0).collect();
    let most = COLUMN_COUNTS[COLUMN_COUNTS.len() - 1];
    let heavier = |a: &u32, b: &u32| mass[*b as usize].total_cmp(&mass[*a as usize]).then(a.cmp(b));
    if ranked.len() > most {
        ranked.select_nth_unstable_by(most, heavier);
        ranked.truncate(most);
    }
    ranked.sort_unstable_by(heavier);
    ranked
}

/// Level of every block diagonal: the base-2 logarithm of its rank by attention, rounded up.
fn rank_distances(simd: Simd, range: QueryRange, proposing: &[Panel]) -> Vec<u8> {
    let mut mass = vec![0f32; range.num_blocks() + 1];
    for panel in proposing {
        let shares = panel.block_shares(simd);
        for lane in 0..LANES {
            let tile = panel.tile(lane);
            for block in 1..range.full_blocks(tile) {
                mass[distance(range, tile, block)] += shares[block][lane];
            }
        }
    }
    let mut order: Vec<usize> = (0..mass.len()).collect();
    order.sort_by(|&a, &b| mass[b].total_cmp(&mass[a]).then(a.cmp(&b)));
    let mut levels = vec![0; mass.len()];
    for (rank, distance) in order.into_iter().enumerate() {
        levels[distance] = ceil_log2(rank + 1);
    }
    levels
}

const _: () = assert!(BLOCK_M == BLOCK_N);
