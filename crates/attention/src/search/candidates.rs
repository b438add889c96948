//! Which plans a head could have, what each would keep and cost.
//!
//! A family gives every (q tile, fully visible block) a *level*; keeping levels `0 ..= n` for each `n`, with each of a few
//! column counts, is a candidate. One pass over the levels fills a histogram, whose running sums are the recall and the
//! steps of every cut at once, so a family costs the same however many candidates it has.

// Lanes index several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::probe::{Panel, Probes};
use super::{PatternFamily, Search, Target};
use crate::pattern::BlockLevels;
use crate::shape::QueryRange;
use crate::simd::{LANES, Simd};
use crate::{BLOCK_M, BLOCK_N};

/// Where the levels come from.
pub(super) enum Family<'a> {
    /// Scores of (q tile, block).
    BlockCluster(&'a BlockLevels),
    /// Rank of the block diagonal by the attention that proposing probes give it, in powers of two.
    Slash { level_of_distance: Vec<u8> },
    /// Distance to the diagonal, in powers of two: windows of 64, 128, 256, ... keys. The newest key of a block `n` blocks
    /// back is within a window of `64 n`.
    Window { level_of_distance: Vec<u8> },
}

/// A plan in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Index of its family.
    pub family: usize,
    /// Levels up to this are kept.
    pub max_level: u8,
    /// Columns outside the blocks: the best so many.
    pub columns: usize,
    /// Attention kept on the judging probes.
    pub recall: f64,
    /// Block steps, by the cost model.
    pub cost: f64,
}

const NUM_LEVELS: usize = BlockLevels::MAX as usize + 1;

/// Everything that decides about a head.
pub(super) struct Candidates<'a> {
    pub families: Vec<Family<'a>>,
    /// Columns by attention: for each number of columns that the search considers, the first so many are the best.
    columns: Vec<u32>,
    /// The best candidate of each family with each number of columns.
    pub found: Vec<Candidate>,
}

impl<'a> Candidates<'a> {
    pub(super) fn evaluate(
        simd: Simd,
        search: &Search,
        range: QueryRange,
        last_rows: usize,
        levels: Option<&'a BlockLevels>,
        probes: &Probes,
    ) -> Self {
        let families: Vec<Family> = (search.families.iter())
            .filter_map(|family| match family {
                PatternFamily::BlockCluster => levels.map(Family::BlockCluster),
                PatternFamily::IntervalSlash => {
                    Some(Family::Slash { level_of_distance: rank_distances(range, probes.proposing) })
                }
                PatternFamily::Triangular => {
                    Some(Family::Window { level_of_distance: (0..=range.num_blocks()).map(ceil_log2).collect() })
                }
            })
            .collect();
        let columns = best_columns(simd, range, probes.proposing, &search.column_counts);
        let judges = Judges::new(range, last_rows, probes.judging);
        let sparse_tiles = (0..range.num_tiles()).filter(|&tile| !sees_all(range, last_rows, tile)).count();
        let centres = if search.centres { range.num_blocks() } else { 0 };
        let dense = search.cost.dense(range);

        let steps: Vec<_> = families.iter().map(|family| steps_by_level(range, last_rows, family)).collect();
        let mut found = Vec::with_capacity(families.len() * search.column_counts.len());
        for count in search.column_counts.iter().copied().filter(|count| *count <= columns.len()) {
            let column_shares = judges.column_shares(range, &columns[..count]);
            for (index, family) in families.iter().enumerate() {
                let recall = judges.recall_by_level(range, family, &column_shares);
                let cost = |level: usize| search.cost.sparse(range, steps[index][level], sparse_tiles, count, centres);
                let level = match search.target {
                    Target::Recall(target) => (0..NUM_LEVELS).find(|&level| recall[level] >= target as f64),
                    // Below the least that a plan costs there is still that plan.
                    Target::Cost(share) => (0..NUM_LEVELS)
                        .rfind(|&level| cost(level) <= share as f64 * dense)
                        .or((search.column_counts.first() == Some(&count)).then_some(0)),
                };
                found.extend(level.map(|level| Candidate {
                    family: index,
                    max_level: level as u8,
                    columns: count,
                    recall: recall[level],
                    cost: cost(level),
                }));
            }
        }
        Self { families, columns, found }
    }

    /// Positions of a candidate's columns, ascending.
    pub(super) fn columns_of(&self, candidate: &Candidate) -> Vec<u32> {
        let mut columns = self.columns[..candidate.columns].to_vec();
        columns.sort_unstable();
        columns
    }
}

impl Family<'_> {
    /// Levels of the blocks that every row of a tile sees whole. The sink and the newest of them are always kept.
    fn levels_of_tile<'b>(&self, range: QueryRange, tile: usize, levels: &'b mut [u8]) -> &'b [u8] {
        let full = range.full_blocks(tile);
        let levels = &mut levels[..full];
        match self {
            Family::BlockCluster(scored) => levels.copy_from_slice(&scored.of_tile(tile)[..full]),
            Family::Slash { level_of_distance } | Family::Window { level_of_distance } => {
                let nearest = distance(range, tile, full.saturating_sub(1));
                let far_to_near = level_of_distance[nearest..].iter().take(full);
                levels.iter_mut().rev().zip(far_to_near).for_each(|(level, of_distance)| *level = *of_distance);
            }
        }
        levels.first_mut().into_iter().for_each(|sink| *sink = 0);
        levels.last_mut().into_iter().for_each(|newest| *newest = 0);
        levels
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

/// Block steps of all tiles when levels `0 ..= n` are kept, for each `n`.
fn steps_by_level(range: QueryRange, last_rows: usize, family: &Family) -> [u64; NUM_LEVELS] {
    let mut steps = [0u64; NUM_LEVELS];
    let mut levels = vec![0; range.num_blocks()];
    for tile in 0..range.num_tiles() {
        let (full, causal) = (range.full_blocks(tile), range.causal_blocks(tile));
        if sees_all(range, last_rows, tile) {
            steps[0] += causal as u64;
        } else {
            steps[0] += (causal - full) as u64;
            family.levels_of_tile(range, tile, &mut levels).iter().for_each(|level| steps[*level as usize] += 1);
        }
    }
    for level in 1..NUM_LEVELS {
        steps[level] += steps[level - 1];
    }
    steps
}

/// The judging probes.
struct Judges<'a> {
    panels: &'a [Panel<'a>],
    /// Attention that every plan keeps: blocks on the diagonal, and all of the last rows'.
    always: f64,
    last_rows: usize,
}

impl<'a> Judges<'a> {
    fn new(range: QueryRange, last_rows: usize, panels: &'a [Panel<'a>]) -> Self {
        let mut judges = Self { panels, always: 0.0, last_rows };
        for panel in panels {
            for lane in 0..LANES {
                let tile = panel.tile(lane);
                judges.always += match sees_all(range, last_rows, tile) {
                    true => 1.0,
                    false => {
                        let diagonal = range.full_blocks(tile)..range.causal_blocks(tile);
                        panel.block_shares[diagonal].iter().map(|shares| shares[lane] as f64).sum()
                    }
                };
            }
        }
        judges
    }

    /// For each panel and block, the attention of the columns in it.
    fn column_shares(&self, range: QueryRange, columns: &[u32]) -> Vec<Vec<[f32; LANES]>> {
        let of_panel = |panel: &Panel| {
            let mut shares = vec![[0f32; LANES]; range.num_blocks()];
            for &column in columns {
                let sums = &mut shares[column as usize / BLOCK_N];
                sums.iter_mut().zip(panel.key_shares(column as usize)).for_each(|(sum, share)| *sum += share);
            }
            shares
        };
        self.panels.iter().map(of_panel).collect()
    }

    /// Mean attention kept when levels `0 ..= n` and the columns are kept, for each `n`.
    fn recall_by_level(
        &self,
        range: QueryRange,
        family: &Family,
        column_shares: &[Vec<[f32; LANES]>],
    ) -> [f64; NUM_LEVELS] {
        let mut kept = [0f32; NUM_LEVELS];
        let mut of_columns = 0f32;
        let mut levels = vec![0; range.num_blocks()];
        for (panel, column_shares) in self.panels.iter().zip(column_shares) {
            for lane in 0..LANES {
                let tile = panel.tile(lane);
                if sees_all(range, self.last_rows, tile) {
                    continue;
                }
                let levels = family.levels_of_tile(range, tile, &mut levels);
                for ((level, shares), columns) in levels.iter().zip(&panel.block_shares).zip(column_shares) {
                    of_columns += columns[lane];
                    kept[*level as usize] += shares[lane] - columns[lane];
                }
            }
        }
        let mut sum = self.always + of_columns as f64;
        kept.map(|share| {
            sum += share as f64;
            sum / (self.panels.len() * LANES) as f64
        })
    }
}

/// The columns with most attention of the proposing probes, so that the first `n` are the best `n` for each of the
/// ascending `counts`. Columns of the sink block are always kept as a block.
fn best_columns(simd: Simd, range: QueryRange, proposing: &[Panel], counts: &[usize]) -> Vec<u32> {
    let most = counts.last().copied().unwrap_or(0);
    if most == 0 {
        return Vec::new();
    }
    let mut mass = vec![0f32; range.num_blocks() * BLOCK_N];
    for panel in proposing {
        panel.add_far_to_columns(simd, range, &mut mass);
    }
    // Bits of positive floats order as the floats do; the position below them breaks ties, the lower one first.
    let mut ranked: Vec<u64> = (mass.iter().enumerate().take(range.kv_len()).skip(BLOCK_N))
        .filter(|(_, mass)| **mass > 0.0)
        .map(|(column, mass)| (mass.to_bits() as u64) << 32 | (u32::MAX - column as u32) as u64)
        .collect();
    let mut rest = &mut ranked[..];
    for &count in counts.iter().rev().filter(|count| **count > 0) {
        if count < rest.len() {
            rest.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
            rest = &mut rest[..count];
        }
    }
    ranked.truncate(most);
    ranked.into_iter().map(|key| u32::MAX - key as u32).collect()
}

/// Level of every block diagonal: the base-2 logarithm of its rank by attention, rounded up.
fn rank_distances(range: QueryRange, proposing: &[Panel]) -> Vec<u8> {
    let mut mass = vec![0f32; range.num_blocks() + 1];
    for panel in proposing {
        for lane in 0..LANES {
            let tile = panel.tile(lane);
            for block in 1..range.full_blocks(tile) {
                mass[distance(range, tile, block)] += panel.block_shares[block][lane];
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
