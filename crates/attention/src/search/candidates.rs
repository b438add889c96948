//! Which plans a head could have, what each would keep and cost.
//!
//! A family gives every (q tile, fully visible block) a *level*; keeping levels `0 ..= n` for each `n`, with each of a few
//! column counts, is a candidate. One pass over the levels fills a histogram, whose running sums are the recall and the
//! steps of every cut at once, so a family costs the same however many candidates it has.

// Lanes index several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::cut::{Cut, Cuts, CutsOfPart};
use super::probe::{Panel, Probes};
use super::{CostModel, JUDGES_OF_PART, Parts, PatternFamily, Search, Target};
use crate::BLOCK_N;
use crate::pattern::BlockLevels;
use crate::shape::Tiles;
use crate::simd::{LANES, Simd};

/// Where the levels come from.
pub(super) enum Family<'a> {
    /// Scores of (q tile, block).
    BlockCluster(&'a BlockLevels),
    /// Rank of the block diagonal by the attention that proposing probes give it, in powers of two.
    Slash { level_of_distance: Vec<u8> },
    /// Distance to the block of the tile's first row, in powers of two: windows of 64, 128, 256, ... keys. The newest key of a
    /// block `n` blocks back is within a window of `64 n`, or just outside where the tile starts at the end of a block.
    Window { level_of_distance: Vec<u8> },
}

/// A plan in the making.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Index of its family.
    pub family: usize,
    /// Index into [`Candidates::cuts`].
    pub cuts: usize,
    /// The blocks that are kept.
    pub cut: Cut,
    /// Columns outside the blocks: the best so many.
    pub columns: usize,
    /// Block steps, by the cost model.
    pub cost: f64,
}

const NUM_LEVELS: usize = BlockLevels::MAX as usize + 1;

/// Everything that decides about a head.
pub(super) struct Candidates<'a> {
    pub families: Vec<Family<'a>>,
    /// Columns by attention: for each number of columns that the search considers, the first so many are the best.
    columns: Vec<u32>,
    /// The cuts of each family with each number of columns.
    cuts: Vec<Cuts>,
    /// The best candidate of each family with each number of columns.
    pub found: Vec<Candidate>,
}

impl<'a> Candidates<'a> {
    pub(super) fn evaluate(
        simd: Simd,
        search: &Search,
        tiles: Tiles,
        last_rows: usize,
        levels: Option<&'a BlockLevels>,
        probes: &Probes,
    ) -> Self {
        let families: Vec<Family> = (search.families.iter())
            .filter_map(|family| match family {
                PatternFamily::BlockCluster => levels.map(Family::BlockCluster),
                PatternFamily::IntervalSlash => {
                    Some(Family::Slash { level_of_distance: rank_distances(tiles, probes.proposing) })
                }
                PatternFamily::Triangular => {
                    Some(Family::Window { level_of_distance: (0..=tiles.num_blocks()).map(ceil_log2).collect() })
                }
            })
            .collect();
        let columns = best_columns(simd, tiles, probes.proposing, &search.column_counts);
        let counts: Vec<usize> = search.column_counts.iter().copied().filter(|n| *n <= columns.len()).collect();
        let judges = Judges::new(tiles, last_rows, probes, &columns, &counts);
        let sparse_tiles = (0..tiles.num_tiles()).filter(|&tile| !tiles.has_last_rows(tile, last_rows)).count();
        let centres = if search.centres { tiles.num_blocks() } else { 0 };
        let pairs = CostModel::pairs();
        let (budget, prices) = match search.target {
            Target::Density(share) => (Search::density_steps(share, tiles), &pairs),
            Target::Recall(share) | Target::Cost(share) => (share as f64 * search.cost.dense(tiles), &search.cost),
        };

        let mut cuts = Vec::with_capacity(families.len() * counts.len());
        // Of those that meet the target, the best; of the others, those without columns.
        let (mut found, mut others) = (Vec::with_capacity(cuts.capacity()), Vec::new());
        let mut by_distance = None;
        for (family, levels) in families.iter().enumerate() {
            let measured = match levels {
                Family::BlockCluster(levels) => &judges.measure(&Bins::Levels(levels)),
                _ => by_distance.get_or_insert_with(|| judges.measure(&Bins::Distances)),
            };
            let by_level = measured.by_level(|bin| levels.level_of_bin(bin));
            for (n, &count) in counts.iter().enumerate() {
                let of_family = judges.cuts(&by_level, n);
                let candidate = |cut: Cut| {
                    let cost = search.cost.sparse(tiles, cut.steps as u64, sparse_tiles, count, centres);
                    Candidate { family, cuts: cuts.len(), cut, columns: count, cost }
                };
                match search.target {
                    Target::Recall(share) => {
                        let (of_all, of_part) = (Search::share_of_probes(share), Search::share_of_part(share));
                        found.extend(of_family.of_recall(of_all, of_part).map(candidate))
                    }
                    Target::Density(_) | Target::Cost(_) => {
                        let left = budget - prices.sparse(tiles, 0, sparse_tiles, count, centres);
                        match of_family.of_steps(left, search.whole_levels) {
                            Some(cut) => found.push(candidate(cut)),
                            // As GPUs do, which look at each family by itself.
                            None if count == 0 && search.whole_levels => found.push(candidate(of_family.least())),
                            None if count == 0 => others.push(candidate(of_family.least())),
                            None => {}
                        }
                    }
                }
                cuts.push(of_family);
            }
        }
        // Below the least that a plan costs there is still that plan.
        if found.is_empty() {
            found.extend(others.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost)));
        }
        Self { families, columns, cuts, found }
    }

    /// The same with so many more blocks, as far as there are.
    pub(super) fn with_more(&self, candidate: &Candidate, blocks: f64) -> Candidate {
        let cuts = &self.cuts[candidate.cuts];
        let cut = cuts.of_steps(candidate.cut.steps + blocks, false).unwrap_or_else(|| candidate.cut.clone());
        Candidate { cost: candidate.cost + cut.steps - candidate.cut.steps, cut, ..*candidate }
    }

    /// Positions of a candidate's columns, ascending.
    pub(super) fn columns_of(&self, candidate: &Candidate) -> Vec<u32> {
        let mut columns = self.columns[..candidate.columns].to_vec();
        columns.sort_unstable();
        columns
    }
}

impl Family<'_> {
    pub(super) fn level(&self, tiles: Tiles, tile: usize, block: usize) -> u8 {
        match self {
            Family::BlockCluster(levels) => levels.of_tile(tile)[block],
            // By distance, as they were counted: a slash through a tile that is taller than a block, or starts inside one,
            // touches blocks at other distances too.
            Family::Slash { level_of_distance } | Family::Window { level_of_distance } => {
                level_of_distance[tiles.distance(tile, block)]
            }
        }
    }

    fn level_of_bin(&self, bin: usize) -> usize {
        match self {
            Family::BlockCluster(_) => bin,
            Family::Slash { level_of_distance } | Family::Window { level_of_distance } => match bin {
                0 => 0,
                _ => level_of_distance[bin - 1] as usize,
            },
        }
    }
}

/// What blocks are counted by. Bin 0 has those that are always kept. Families that keep the same distances everywhere share
/// one counting by distance.
enum Bins<'a> {
    /// By level of the score.
    Levels(&'a BlockLevels),
    /// By one more than the distance.
    Distances,
}

impl Bins<'_> {
    fn number(&self, tiles: Tiles) -> usize {
        match self {
            Bins::Levels(_) => NUM_LEVELS,
            Bins::Distances => tiles.num_blocks() + 2,
        }
    }

    /// Bins of the blocks that every row of a tile sees whole. The sink and the newest of them are always kept.
    fn of_tile<'b>(&self, tiles: Tiles, tile: usize, bins: &'b mut [u32]) -> &'b [u32] {
        let full = tiles.full_blocks(tile);
        let bins = &mut bins[..full];
        match self {
            Bins::Levels(levels) => {
                bins.iter_mut().zip(levels.of_tile(tile)).for_each(|(bin, level)| *bin = *level as u32)
            }
            Bins::Distances => {
                let farthest = tiles.distance(tile, 0) as u32 + 1;
                bins.iter_mut().enumerate().for_each(|(block, bin)| *bin = farthest - block as u32);
            }
        }
        bins.first_mut().into_iter().for_each(|sink| *sink = 0);
        bins.last_mut().into_iter().for_each(|newest| *newest = 0);
        bins
    }
}

fn ceil_log2(n: usize) -> u8 {
    n.next_power_of_two().trailing_zeros() as u8
}

/// Sums by bin or by level.
struct Sums {
    /// Block steps that every plan has.
    always: f64,
    /// Of each part of the chunk.
    parts: Vec<SumsOfPart>,
}

/// Block steps of the tiles of a part, and attention of its judges, by bin or by level.
#[derive(Clone)]
struct SumsOfPart {
    /// Those that a plan may leave out.
    steps: Vec<f64>,
    /// To blocks.
    blocks: Vec<f64>,
    /// To the columns in the blocks, for each number of columns.
    columns: Vec<Vec<f64>>,
}

impl Sums {
    fn zeroed(len: usize, counts: usize, parts: usize) -> Self {
        let zeros = || vec![0.0; len];
        let part = SumsOfPart { steps: zeros(), blocks: zeros(), columns: vec![zeros(); counts] };
        Self { always: 0.0, parts: vec![part; parts] }
    }

    fn by_level(&self, level_of_bin: impl Fn(usize) -> usize) -> Sums {
        let bins = self.parts.first().map_or(0, |part| part.steps.len());
        let levels: Vec<usize> = (0..bins).map(level_of_bin).collect();
        let add_up = |bins: &[f64]| {
            let mut sums = vec![0.0; NUM_LEVELS];
            bins.iter().zip(&levels).for_each(|(value, level)| sums[*level] += value);
            sums
        };
        let of_part = |part: &SumsOfPart| SumsOfPart {
            steps: add_up(&part.steps),
            blocks: add_up(&part.blocks),
            columns: part.columns.iter().map(|bins| add_up(bins)).collect(),
        };
        Sums { always: self.always, parts: self.parts.iter().map(of_part).collect() }
    }
}

fn running_sums(values: &[f64]) -> Vec<f64> {
    let add = |sum: &mut f64, value: &f64| {
        *sum += value;
        Some(*sum)
    };
    values.iter().scan(0.0, add).collect()
}

/// The judging probes.
struct Judges<'a> {
    tiles: Tiles,
    last_rows: usize,
    probes: &'a Probes<'a>,
    /// For each number of columns and each panel, the attention of the columns in each block.
    column_shares: Vec<Vec<Vec<[f32; LANES]>>>,
    /// Attention of each part that every plan keeps: blocks on the diagonal, and all of the last rows'.
    always: Vec<f64>,
}

impl<'a> Judges<'a> {
    fn new(tiles: Tiles, last_rows: usize, probes: &'a Probes<'a>, columns: &[u32], counts: &[usize]) -> Self {
        let panels = probes.judging;
        let column_shares = counts.iter().map(|&count| column_shares(tiles, panels, &columns[..count])).collect();
        let mut always = vec![0.0; Parts::of(tiles).number()];
        for (n, panel) in panels.iter().enumerate() {
            for lane in 0..LANES {
                let tile = panel.tile(lane);
                always[probes.part(n, lane)] += match tiles.has_last_rows(tile, last_rows) {
                    true => 1.0,
                    false => {
                        let diagonal = tiles.full_blocks(tile)..tiles.causal_blocks(tile);
                        panel.block_shares[diagonal].iter().map(|shares| shares[lane] as f64).sum()
                    }
                };
            }
        }
        Self { tiles, last_rows, probes, column_shares, always }
    }

    fn measure(&self, bins: &Bins) -> Sums {
        let (tiles, parts) = (self.tiles, Parts::of(self.tiles));
        let mut sums = Sums::zeroed(bins.number(tiles), self.column_shares.len(), self.always.len());
        let mut of_tile = vec![0; tiles.num_blocks()];
        for tile in 0..tiles.num_tiles() {
            let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
            if tiles.has_last_rows(tile, self.last_rows) {
                sums.always += causal as f64;
            } else {
                sums.always += (causal - full) as f64;
                let steps = &mut sums.parts[parts.of_tile(tile)].steps;
                bins.of_tile(tiles, tile, &mut of_tile).iter().for_each(|bin| steps[*bin as usize] += 1.0);
            }
        }
        for (n, panel) in self.probes.judging.iter().enumerate() {
            for lane in 0..LANES {
                let tile = panel.tile(lane);
                if tiles.has_last_rows(tile, self.last_rows) {
                    continue;
                }
                let part = &mut sums.parts[self.probes.part(n, lane)];
                let of_tile = bins.of_tile(tiles, tile, &mut of_tile);
                let add = |sums: &mut [f64], shares: &[[f32; LANES]]| {
                    of_tile.iter().zip(shares).for_each(|(bin, shares)| sums[*bin as usize] += shares[lane] as f64);
                };
                add(&mut part.blocks, &panel.block_shares);
                for (sums, shares) in part.columns.iter_mut().zip(&self.column_shares) {
                    if !shares.is_empty() {
                        add(sums, &shares[n]);
                    }
                }
            }
        }
        sums
    }

    /// What is kept when levels `0 ..= n` and a number of columns are kept, for each `n`.
    fn cuts(&self, sums: &Sums, count: usize) -> Cuts {
        let of_part = |(part, always): (&SumsOfPart, &f64)| {
            let columns = &part.columns[count];
            let outside: Vec<f64> = part.blocks.iter().zip(columns).map(|(blocks, columns)| blocks - columns).collect();
            let base = always + columns.iter().sum::<f64>();
            let recall = running_sums(&outside).into_iter().map(|kept| (base + kept) / JUDGES_OF_PART as f64).collect();
            CutsOfPart { steps: running_sums(&part.steps), recall }
        };
        Cuts {
            always: sums.always,
            one_level: !Parts::of(self.tiles).have_own_levels(),
            parts: sums.parts.iter().zip(&self.always).map(of_part).collect(),
        }
    }
}

/// For each panel and block, the attention of the columns in it; nothing when there are none.
fn column_shares(tiles: Tiles, panels: &[Panel], columns: &[u32]) -> Vec<Vec<[f32; LANES]>> {
    if columns.is_empty() {
        return Vec::new();
    }
    let of_panel = |panel: &Panel| {
        let mut shares = vec![[0f32; LANES]; tiles.num_blocks()];
        for &column in columns {
            let sums = &mut shares[column as usize / BLOCK_N];
            sums.iter_mut().zip(panel.key_shares(column as usize)).for_each(|(sum, share)| *sum += share);
        }
        shares
    };
    panels.iter().map(of_panel).collect()
}

/// The columns with most attention of the proposing probes, so that the first `n` are the best `n` for each of the
/// ascending `counts`. Columns of the sink block are always kept as a block.
pub(super) fn best_columns(simd: Simd, tiles: Tiles, proposing: &[Panel], counts: &[usize]) -> Vec<u32> {
    let most = counts.last().copied().unwrap_or(0);
    if most == 0 {
        return Vec::new();
    }
    let mut mass = vec![0f32; tiles.num_blocks() * BLOCK_N];
    for panel in proposing {
        panel.add_far_to_columns(simd, tiles, &mut mass);
    }
    // Bits of positive floats order as the floats do; the position below them breaks ties, the lower one first.
    let mut ranked: Vec<u64> = (mass.iter().enumerate().take(tiles.range().kv_len()).skip(BLOCK_N))
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
fn rank_distances(tiles: Tiles, proposing: &[Panel]) -> Vec<u8> {
    let mut mass = vec![0f32; tiles.num_blocks() + 1];
    for panel in proposing {
        for lane in 0..LANES {
            let tile = panel.tile(lane);
            for block in 1..tiles.full_blocks(tile) {
                mass[tiles.distance(tile, block)] += panel.block_shares[block][lane];
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
