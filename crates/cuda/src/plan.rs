//! A plan on the device: what each query tile of each head of a batch computes, as attention kernels read it.

use crate::Error;
use crate::batch::{Batch, TileRow};
use crate::device::{Buffer, Device, Pointer};
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::shape::{HeadShape, QueryRange, Tiles};
use bytemuck::{Pod, Zeroable};
use half::bf16;

/// Keys of a step of the kernels; columns and centres are filled up to whole steps.
pub(crate) const STEP_KEYS: usize = 128;

/// What a tile computes for every sequence of a batch: lists of blocks, and gathered columns and centres.
///
/// Either [uploaded](crate::search::DeviceSearch::upload) or made by the [search](crate::search::DeviceSearch::run), which
/// makes it anew for every layer in the same buffers.
pub struct DevicePlan {
    heads: HeadShape,
    /// Of each sequence.
    tiles: Vec<Tiles>,
    /// Most columns of a head.
    column_room: usize,
    /// Most blocks that a sequence may have.
    max_blocks: usize,
    num_tiles: usize,
    pub(crate) of_tiles: Buffer<TileRow>,
    pub(crate) order: Buffer<u32>,
    pub(crate) items: Buffer<PlanItem>,
    pub(crate) listed: Buffer<u32>,
    pub(crate) indices: Buffer<i32>,
    pub(crate) of_heads: Buffer<PlanExtras>,
    pub(crate) extras: Buffer<Extra>,
    pub(crate) k_extras: Buffer<bf16>,
    pub(crate) v_extras: Buffer<bf16>,
}

/// `PlanItem` in `kernels/plan.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct PlanItem {
    pub begin: i32,
    pub count: i32,
    pub column_steps: i32,
    pub centre_steps: i32,
}

/// `PlanExtras` in `kernels/plan.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct PlanExtras {
    columns: i32,
    centres: i32,
}

/// `Extra` in `kernels/plan.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Extra {
    block: i32,
    bias: f32,
}

/// `Plan` in `kernels/plan.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PlanArguments {
    tiles: Pointer<TileRow>,
    order: Pointer<u32>,
    items: Pointer<PlanItem>,
    listed: Pointer<u32>,
    indices: Pointer<i32>,
    heads: Pointer<PlanExtras>,
    extras: Pointer<Extra>,
    words: i32,
    num_tiles: i32,
}

/// As `kernels/plan.cuh` packs an item of the order.
const TILE_BITS: usize = 20;

impl PlanArguments {
    /// For kernels that are given no plan.
    pub(crate) fn none() -> Self {
        Self {
            tiles: Pointer::null(),
            order: Pointer::null(),
            items: Pointer::null(),
            listed: Pointer::null(),
            indices: Pointer::null(),
            heads: Pointer::null(),
            extras: Pointer::null(),
            words: 0,
            num_tiles: 0,
        }
    }
}

/// Rows of extras that each head of a sequence has.
pub(crate) fn extra_rows(column_room: usize, max_blocks: usize) -> usize {
    column_room.next_multiple_of(STEP_KEYS) + max_blocks.next_multiple_of(STEP_KEYS)
}

/// Blocks that all tiles see, which is what a list may hold.
fn causal_blocks(tiles: Tiles) -> usize {
    (0..tiles.num_tiles()).map(|tile| tiles.causal_blocks(tile)).sum()
}

impl DevicePlan {
    /// Room for any plan of these sequences with up to `column_room` columns a head.
    ///
    /// # Errors
    /// When it has more tiles, blocks or extras than kernels can count, or there is no room.
    pub(crate) fn with_room(
        device: &Device,
        heads: HeadShape,
        tiles: Vec<Tiles>,
        column_room: usize,
    ) -> Result<Self, Error> {
        let num_indices = heads.num_q_heads() * tiles.iter().map(|tiles| causal_blocks(*tiles)).sum::<usize>();
        Self::of_size(device, heads, tiles, column_room, num_indices)
    }

    fn of_size(
        device: &Device,
        heads: HeadShape,
        tiles: Vec<Tiles>,
        column_room: usize,
        num_indices: usize,
    ) -> Result<Self, Error> {
        let q_heads = heads.num_q_heads();
        let num_tiles: usize = tiles.iter().map(|tiles| tiles.num_tiles()).sum();
        let max_blocks = tiles.iter().map(|tiles| tiles.num_blocks()).max().unwrap_or(0);
        let of_heads = tiles.len() * q_heads;
        let extra_rows = of_heads * extra_rows(column_room, max_blocks);
        let most = i32::MAX as usize;
        if num_tiles >= 1 << TILE_BITS || q_heads >= 1 << (32 - TILE_BITS) || num_indices > most || extra_rows > most {
            return Err(Error::Unsupported {
                what: "plan",
                expected: "fewer than 2^20 tiles, 2^12 heads, and 2^31 blocks, columns and centres".into(),
                found: format!("{num_tiles} tiles, {q_heads} heads, {num_indices} blocks, {extra_rows} others"),
            });
        }
        let of_tiles: Vec<TileRow> = (tiles.iter().enumerate())
            .flat_map(|(sequence, tiles)| (0..tiles.num_tiles()).map(move |tile| TileRow::new(sequence, tile)))
            .collect();
        Ok(Self {
            heads,
            column_room,
            max_blocks,
            num_tiles,
            of_tiles: device.upload(&of_tiles)?,
            order: device.room(q_heads * num_tiles)?,
            items: device.room(q_heads * num_tiles)?,
            listed: device.room(q_heads * num_tiles * max_blocks.div_ceil(32))?,
            indices: device.room(num_indices)?,
            of_heads: device.room(of_heads)?,
            extras: device.room(extra_rows)?,
            k_extras: device.room(extra_rows * heads.head_dim())?,
            v_extras: device.room(extra_rows * heads.head_dim())?,
            tiles,
        })
    }

    /// Bytes that [`with_room`](Self::with_room) takes for one sequence.
    pub(crate) fn bytes(heads: HeadShape, tiles: Tiles, column_room: usize) -> usize {
        let items = heads.num_q_heads() * tiles.num_tiles();
        let extras = heads.num_q_heads() * extra_rows(column_room, tiles.num_blocks());
        let of_item = size_of::<u32>() + size_of::<PlanItem>() + tiles.num_blocks().div_ceil(32) * size_of::<u32>();
        items * of_item
            + heads.num_q_heads() * causal_blocks(tiles) * size_of::<i32>()
            + extras * (size_of::<Extra>() + 2 * heads.head_dim() * size_of::<bf16>())
    }

    /// The lists of host plans, one a sequence; extras are not gathered yet. Returns the columns too, `[sequence][q_head]`.
    pub(crate) fn lists(
        device: &Device,
        heads: HeadShape,
        block_m: usize,
        plans: &[&Plan],
        batch: &Batch,
    ) -> Result<(Self, Vec<Vec<u32>>), Error> {
        let tiles: Vec<Tiles> = (batch.ranges().iter()).map(|range| range.tiles(block_m)).collect::<Result<_, _>>()?;
        Error::check_len("plans", tiles.len(), plans.len())?;
        for (plan, tiles) in plans.iter().zip(&tiles) {
            check_plan(plan, heads, *tiles)?;
        }
        let lists = Lists::of(plans, &tiles, batch.section_heads(device, heads));
        let column_room = lists.columns.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut plan = Self::of_size(device, heads, tiles, column_room, lists.indices.len())?;
        plan.items.write(&lists.items)?;
        plan.listed.write(&lists.listed)?;
        plan.indices.write(&lists.indices)?;
        plan.order.write(&lists.order)?;
        let rows = extra_rows(plan.column_room, plan.max_blocks);
        let extras: Vec<PlanExtras> = (0..lists.columns.len())
            .map(|head| {
                let columns = (head * rows) as i32;
                PlanExtras { columns, centres: columns + plan.column_room.next_multiple_of(STEP_KEYS) as i32 }
            })
            .collect();
        plan.of_heads.write(&extras)?;
        Ok((plan, lists.columns))
    }

    /// What it computes, as a plan of the host: one for each sequence, with the columns and centres given, `[sequence][q_head]`.
    pub(crate) fn read(&self, columns: &[Vec<u32>], centres: &[bool]) -> Result<Vec<Plan>, Error> {
        let (items, indices) = (self.items.read()?, self.indices.read()?);
        let mut first_tile = 0;
        let mut plans = Vec::new();
        for (sequence, tiles) in self.tiles.iter().enumerate() {
            let mut heads = Vec::new();
            for head in 0..self.heads.num_q_heads() {
                let of_head = &items[head * self.num_tiles + first_tile..][..tiles.num_tiles()];
                let mut indptr = vec![0u32];
                let mut blocks = Vec::new();
                for item in of_head {
                    let list = &indices[item.begin as usize..][..item.count as usize];
                    blocks.extend(list.iter().map(|block| *block as u32));
                    indptr.push(blocks.len() as u32);
                }
                if blocks.len() == causal_blocks(*tiles) {
                    heads.push(HeadPlan::Dense);
                    continue;
                }
                let at = sequence * self.heads.num_q_heads() + head;
                let plan = SparsePlan::new(*tiles, indptr, blocks, columns[at].clone(), centres[at])?;
                heads.push(HeadPlan::Sparse(plan));
            }
            plans.push(Plan { heads });
            first_tile += tiles.num_tiles();
        }
        Ok(plans)
    }

    /// Makes it one for queries further on, of as many sequences.
    pub(crate) fn move_to(&mut self, tiles: Vec<Tiles>) {
        self.tiles = tiles;
    }

    pub(crate) fn tiles(&self) -> &[Tiles] {
        &self.tiles
    }

    pub(crate) fn device(&self) -> &Device {
        self.items.device()
    }

    pub(crate) fn num_tiles(&self) -> usize {
        self.num_tiles
    }

    pub(crate) fn column_room(&self) -> usize {
        self.column_room
    }

    pub(crate) fn max_blocks(&self) -> usize {
        self.max_blocks
    }

    /// Words of a tile's bits.
    fn words(&self) -> usize {
        self.tiles.iter().map(|tiles| tiles.num_blocks()).max().unwrap_or(0).div_ceil(32)
    }

    /// Rows of extras, all heads together.
    pub(crate) fn extra_rows(&self) -> usize {
        self.extras.len()
    }

    pub(crate) fn k_extras(&self) -> &Buffer<bf16> {
        &self.k_extras
    }

    pub(crate) fn v_extras(&self) -> &Buffer<bf16> {
        &self.v_extras
    }

    pub(crate) fn arguments(&self) -> PlanArguments {
        PlanArguments {
            tiles: self.of_tiles.pointer(),
            order: self.order.pointer(),
            items: self.items.pointer(),
            listed: self.listed.pointer(),
            indices: self.indices.pointer(),
            heads: self.of_heads.pointer(),
            extras: self.extras.pointer(),
            words: self.words() as i32,
            num_tiles: self.num_tiles as i32,
        }
    }

    /// Checks that a kernel of these tiles and heads can execute it for this batch.
    pub(crate) fn check_operands(&self, block_m: usize, heads: HeadShape, batch: &Batch) -> Result<(), Error> {
        Error::check_heads(heads, self.heads)?;
        let found: Vec<QueryRange> = self.tiles.iter().map(|tiles| tiles.range()).collect();
        if found != batch.ranges() {
            let message = format!("made for {found:?}, not for {:?}: plan again", batch.ranges());
            return Err(attention::Error::Plan(message).into());
        }
        self.tiles
            .iter()
            .try_for_each(|tiles| Error::check_len("queries of a tile of the plan", block_m, tiles.block_m()))
    }
}

/// Checks that tiles of the device can execute a plan.
fn check_plan(plan: &Plan, heads: HeadShape, tiles: Tiles) -> Result<(), Error> {
    let wrong = |message: String| Err(attention::Error::Plan(message).into());
    if plan.heads.len() != heads.num_q_heads() {
        return wrong(format!("{} heads planned, {} given", plan.heads.len(), heads.num_q_heads()));
    }
    for head in &plan.heads {
        match head {
            HeadPlan::Dense => (),
            HeadPlan::Sparse(plan) if plan.tiles() == tiles => (),
            HeadPlan::Sparse(plan) => {
                let text = |tiles: Tiles| {
                    let range = tiles.range();
                    let (rows, q_len, kv_len) = (tiles.block_m(), range.q_len(), range.kv_len());
                    format!("tiles of {rows} of the last {q_len} of {kv_len} positions")
                };
                return wrong(format!("made for {}, not for {}: plan again", text(plan.tiles()), text(tiles)));
            }
            HeadPlan::Window(_) => return wrong("a window of single positions is no list of blocks".into()),
        }
    }
    Ok(())
}

/// Plans as the kernels read them, on the host.
struct Lists {
    items: Vec<PlanItem>,
    listed: Vec<u32>,
    indices: Vec<i32>,
    order: Vec<u32>,
    columns: Vec<Vec<u32>>,
}

impl Lists {
    fn of(plans: &[&Plan], tiles: &[Tiles], section_heads: usize) -> Self {
        let num_heads = plans.first().map_or(0, |plan| plan.heads.len());
        let num_tiles: usize = tiles.iter().map(|tiles| tiles.num_tiles()).sum();
        let words = tiles.iter().map(|tiles| tiles.num_blocks()).max().unwrap_or(0).div_ceil(32);
        let mut lists = Self {
            items: Vec::with_capacity(num_heads * num_tiles),
            listed: vec![0; num_heads * num_tiles * words],
            indices: Vec::new(),
            order: Vec::new(),
            columns: Vec::new(),
        };
        for head in 0..num_heads {
            for (plan, tiles) in plans.iter().zip(tiles) {
                for tile in 0..tiles.num_tiles() {
                    let listed = &mut lists.listed[lists.items.len() * words..][..words];
                    lists.items.push(item(&plan.heads[head], *tiles, tile, listed, &mut lists.indices));
                }
            }
        }
        for plan in plans {
            lists.columns.extend(plan.heads.iter().map(|head| match head {
                HeadPlan::Sparse(plan) => plan.columns().to_vec(),
                _ => Vec::new(),
            }));
        }
        // Section by section, so that what its heads share stays in the cache; in each, longest first.
        for section in (0..num_heads).step_by(section_heads) {
            let heads = section..(section + section_heads).min(num_heads);
            let mut items: Vec<(usize, usize)> =
                heads.flat_map(|head| (0..num_tiles).map(move |tile| (head, tile))).collect();
            items.sort_by_key(|(head, tile)| std::cmp::Reverse(lists.items[head * num_tiles + tile].steps()));
            lists.order.extend(items.into_iter().map(|(head, tile)| (head << TILE_BITS | tile) as u32));
        }
        lists
    }
}

impl PlanItem {
    fn steps(&self) -> i32 {
        (self.count + 1) / 2 + self.column_steps + self.centre_steps
    }
}

/// Appends a tile's blocks to `indices` and marks them in `listed`.
fn item(plan: &HeadPlan, tiles: Tiles, tile: usize, listed: &mut [u32], indices: &mut Vec<i32>) -> PlanItem {
    let begin = indices.len() as i32;
    let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
    let (mut column_steps, mut centre_steps) = (0, 0);
    match plan {
        HeadPlan::Sparse(plan) => {
            indices.extend(plan.blocks(tile).iter().map(|block| *block as i32));
            let seen = plan.columns().partition_point(|column| (*column as usize) < full * attention::BLOCK_N);
            // A tile that lists every block computes no extras.
            if plan.blocks(tile).len() < causal {
                column_steps = seen.div_ceil(STEP_KEYS);
                centre_steps = if plan.centres() { full.div_ceil(STEP_KEYS) } else { 0 };
            }
        }
        _ => indices.extend(0..causal as i32),
    }
    for block in &indices[begin as usize..] {
        listed[*block as usize / 32] |= 1 << (block % 32);
    }
    let count = indices.len() as i32 - begin;
    PlanItem { begin, count, column_steps: column_steps as i32, centre_steps: centre_steps as i32 }
}
