//! What the search works in and what it leaves.

use super::arguments::{Arguments, Candidate, Choice, MOST_COLUMNS, MOST_COUNTS, NUM_FAMILIES, NUM_KINDS, NUM_LEVELS};
use super::geometry::Geometry;
use crate::Error;
use crate::device::{Buffer, Device};
use crate::plan::{DevicePlan, extra_rows};
use attention::BLOCK_N;
use attention::pattern::{BlockLevels, HeadPattern};
use attention::plan::HeadPlan;
use attention::planner::{HeadChoice, Planned};
use attention::search::{Parts, Search, probe_rows};
use attention::shape::{HeadShape, Tiles};

/// Buffers of the search for chunks of one length, used again from layer to layer and from chunk to chunk; and the plan
/// that the last search left.
pub struct SearchRoom {
    heads: HeadShape,
    /// What the buffers suffice for.
    largest: Tiles,
    /// What was last searched, if anything was.
    current: Option<(Tiles, usize)>,
    num_probes: usize,
    sparse_tiles: usize,
    always_steps: usize,
    plan: DevicePlan,
    probes: Buffer<i32>,
    distance_steps: Buffer<u32>,
    tile_begins: Buffer<i32>,
    levels: Buffer<u8>,
    shares: Buffer<f32>,
    probe_lse: Buffer<f32>,
    distance_levels: Buffer<u8>,
    ranked_columns: Buffer<i32>,
    /// What [`counters_of_head`] counts, and behind it the attention of each column: zeros when a search begins.
    counters: Buffer<u32>,
    candidates: Buffer<Candidate>,
    choices: Buffer<Choice>,
    part_levels: Buffer<u8>,
    columns: Buffer<i32>,
}

impl SearchRoom {
    pub(super) fn new(device: &Device, heads: HeadShape, tiles: Tiles) -> Result<Self, Error> {
        let (q_heads, blocks, num_tiles) = (heads.num_q_heads(), tiles.num_blocks(), tiles.num_tiles());
        let (num_probes, parts) = (probe_rows(tiles).len(), Parts::of(tiles).number());
        Ok(Self {
            heads,
            largest: tiles,
            current: None,
            num_probes,
            sparse_tiles: 0,
            always_steps: 0,
            plan: DevicePlan::with_room(device, heads, vec![tiles], MOST_COLUMNS)?,
            probes: device.room(num_probes)?,
            distance_steps: device.room(parts * (blocks + 1))?,
            tile_begins: device.room(num_tiles)?,
            levels: device.room(q_heads * num_tiles * blocks)?,
            shares: device.room(q_heads * num_probes * blocks)?,
            probe_lse: device.room(q_heads * num_probes)?,
            distance_levels: device.room(q_heads * (blocks + 1))?,
            ranked_columns: device.room(q_heads * MOST_COLUMNS)?,
            counters: device.zeros(q_heads * (counters_of_head(parts) + blocks * BLOCK_N))?,
            candidates: device.room(q_heads * NUM_FAMILIES * MOST_COUNTS)?,
            choices: device.room(q_heads)?,
            part_levels: device.room(q_heads * parts)?,
            columns: device.room(q_heads * MOST_COLUMNS)?,
        })
    }

    /// Bytes that room for these tiles takes.
    pub fn bytes(heads: HeadShape, tiles: Tiles) -> usize {
        let (q_heads, blocks, num_tiles) = (heads.num_q_heads(), tiles.num_blocks(), tiles.num_tiles());
        let (num_probes, parts) = (probe_rows(tiles).len(), Parts::of(tiles).number());
        let of_head = num_tiles * blocks
            + num_probes * (blocks + 1) * size_of::<f32>()
            + (blocks + 1)
            + blocks * BLOCK_N * size_of::<f32>()
            + 2 * MOST_COLUMNS * size_of::<i32>()
            + counters_of_head(parts) * size_of::<u32>()
            + NUM_FAMILIES * MOST_COUNTS * size_of::<Candidate>()
            + size_of::<Choice>()
            + parts;
        DevicePlan::bytes(heads, tiles, MOST_COLUMNS)
            + q_heads * of_head
            + (num_probes + parts * (blocks + 1) + num_tiles) * size_of::<i32>()
    }

    /// The plan that the last search left.
    pub fn plan(&self) -> &DevicePlan {
        &self.plan
    }

    /// Where the next search stands. Uploads what depends on that, once a chunk.
    pub(super) fn move_to(&mut self, tiles: Tiles, last_rows: usize) -> Result<(), Error> {
        if self.current == Some((tiles, last_rows)) {
            return Ok(());
        }
        let fits = tiles.num_tiles() == self.largest.num_tiles()
            && tiles.range().q_len() == self.largest.range().q_len()
            && tiles.num_blocks() <= self.largest.num_blocks();
        if !fits {
            let text = |tiles: Tiles| format!("{} queries and {} keys", tiles.range().q_len(), tiles.range().kv_len());
            let (expected, found) = (format!("up to {}", text(self.largest)), text(tiles));
            return Err(Error::Unsupported { what: "search in this room", expected, found });
        }
        let geometry = Geometry::new(tiles, last_rows);
        let rows: Vec<i32> = probe_rows(tiles).into_iter().map(|row| row as i32).collect();
        self.probes.write(&rows)?;
        self.distance_steps.view_mut(0..geometry.distance_steps.len()).write(&geometry.distance_steps)?;
        self.tile_begins.write(&geometry.tile_begins)?;
        self.sparse_tiles = geometry.sparse_tiles;
        self.always_steps = geometry.always_steps;
        self.plan.move_to(vec![tiles]);
        self.current = Some((tiles, last_rows));
        Ok(())
    }

    /// What the current search is of.
    ///
    /// # Panics
    /// Before the first.
    pub(super) fn tiles(&self) -> Tiles {
        self.current.expect("a search moves its room first").0
    }

    pub(super) fn clear(&mut self) -> Result<(), Error> {
        let tiles = self.tiles();
        let of_head = counters_of_head(Parts::of(tiles).number()) + tiles.num_blocks() * BLOCK_N;
        self.counters.view_mut(0..self.heads.num_q_heads() * of_head).fill_zero()
    }

    pub(super) fn fill(&mut self, arguments: Arguments) -> Arguments {
        let q_heads = self.heads.num_q_heads();
        let counters = self.counters.pointer_mut();
        let at = |elements: usize| counters.offset(elements * q_heads);
        let (parts, column_room) = (Parts::of(self.tiles()), MOST_COLUMNS);
        let of_parts = |elements: usize| at(parts.number() * elements);
        Arguments {
            probes: self.probes.pointer(),
            distance_steps: self.distance_steps.pointer(),
            tile_begins: self.tile_begins.pointer(),
            levels: self.levels.pointer_mut(),
            level_steps: at(0),
            sums: of_parts(NUM_LEVELS),
            always: of_parts(NUM_LEVELS + SUMS_OF_PART),
            columns_found: of_parts(NUM_LEVELS + SUMS_OF_PART + 1).cast(),
            shares: self.shares.pointer_mut(),
            probe_lse: self.probe_lse.pointer_mut(),
            distance_levels: self.distance_levels.pointer_mut(),
            column_mass: at(counters_of_head(parts.number())),
            ranked_columns: self.ranked_columns.pointer_mut(),
            candidates: self.candidates.pointer_mut(),
            choices: self.choices.pointer_mut(),
            part_levels: self.part_levels.pointer_mut(),
            columns: self.columns.pointer_mut(),
            items: self.plan.items.pointer_mut(),
            order: self.plan.order.pointer_mut(),
            listed: self.plan.listed.pointer_mut(),
            indices: self.plan.indices.pointer_mut(),
            heads: self.plan.of_heads.pointer_mut(),
            extras: self.plan.extras.pointer_mut(),
            k_extras: self.plan.k_extras.pointer_mut(),
            v_extras: self.plan.v_extras.pointer_mut(),
            sparse_tiles: self.sparse_tiles as i32,
            always_steps: self.always_steps as u32,
            num_probes: self.num_probes as i32,
            own_levels: parts.have_own_levels() as i32,
            column_room: column_room as i32,
            extra_rows: extra_rows(column_room, self.largest.num_blocks()) as i32,
            ..arguments
        }
    }

    /// The plan and the choices of the last search, on the host; waits for it.
    ///
    /// # Errors
    /// Whatever went wrong in the work before, or when nothing was searched yet.
    pub fn planned(&self, search: &Search) -> Result<Planned, Error> {
        let Some((tiles, _)) = self.current else {
            return Err(attention::Error::Plan("nothing was searched yet".into()).into());
        };
        let (choices, columns) = (self.choices.read()?, self.columns.read()?);
        let (candidates, distances) = (self.candidates.read()?, self.distance_levels.read()?);
        let counts = search.column_counts.len();
        let columns_of = |head: usize| -> Vec<u32> {
            let of_head = &columns[head * MOST_COLUMNS..][..choices[head].columns as usize];
            of_head.iter().map(|column| *column as u32).collect()
        };
        let all_columns: Vec<_> = (0..choices.len()).map(columns_of).collect();
        let mut plan = self.plan.read(&all_columns, &vec![search.centres; choices.len()])?.swap_remove(0);
        let of_heads = choices.iter().enumerate().map(|(head, choice)| {
            let distances = &distances[head * (tiles.num_blocks() + 1)..][..tiles.num_blocks() + 1];
            let pattern = |family: usize, level, columns| pattern(family, level, columns, distances);
            let of_head = &candidates[head * NUM_FAMILIES * counts..][..NUM_FAMILIES * counts];
            let considered = (of_head.iter().enumerate().filter(|(_, candidate)| candidate.level >= 0))
                .map(|(at, candidate)| {
                    let pattern = pattern(at / counts, candidate.level, candidate.columns);
                    HeadChoice::new(pattern, candidate.recall, candidate.cost)
                })
                .collect();
            let chosen = match choice.family as usize {
                NUM_FAMILIES => HeadChoice::dense(choice.cost),
                family => HeadChoice::new(pattern(family, choice.level, choice.columns), choice.recall, choice.cost),
            };
            HeadChoice { considered, ..chosen }
        });
        let of_heads: Vec<HeadChoice> = of_heads.collect();
        for (head, choice) in plan.heads.iter_mut().zip(&of_heads) {
            if choice.pattern == HeadPattern::Dense {
                *head = HeadPlan::Dense;
            }
        }
        Ok(Planned { plan, choices: of_heads })
    }
}

const SUMS_OF_PART: usize = NUM_FAMILIES * NUM_KINDS * NUM_LEVELS;

/// Level steps, sums and what is always kept, of each part; columns found.
fn counters_of_head(parts: usize) -> usize {
    parts * (NUM_LEVELS + SUMS_OF_PART + 1) + 1
}

fn pattern(family: usize, level: i32, columns: i32, distance_levels: &[u8]) -> HeadPattern {
    let (level, columns) = (level as u8, columns as usize);
    match family {
        0 => HeadPattern::BlockCluster { threshold: BlockLevels::threshold(level), columns },
        1 => {
            // Distances side by side are one interval.
            let kept = |distance: usize| distance_levels.get(distance).is_some_and(|of| *of <= level);
            let intervals = (0..distance_levels.len()).filter(|&at| kept(at) && (at == 0 || !kept(at - 1))).count();
            HeadPattern::IntervalSlash { intervals, columns }
        }
        _ => HeadPattern::Triangular { window: BLOCK_N << level, columns },
    }
}
