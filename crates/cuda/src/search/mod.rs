//! The kernel-aware search on the device: what [`attention::search`] does on the CPU, stage by stage in kernels, from
//! queries and pages to a [`DevicePlan`](crate::plan::DevicePlan), without the host waiting for anything.
//!
//! | stage | kernels | finds |
//! |---|---|---|
//! | summarise | `search_means` | mean key and value of each block, kept beside the pages |
//! | scores | `search_levels` | row-peak level of every (tile, block) |
//! | probes | `search_probes`, `search_shares` | exact attention of a few rows, by block |
//! | ranks | `search_column_mass`, `search_rank` | ranks of block diagonals and of columns |
//! | judging | `search_judge` | recall by level of every family, and what columns add |
//! | choice | `search_choose` | the cheapest candidate that meets the goal, by the cost model |
//! | lowering | `search_lower`, `search_order` | lists, gathered columns and centres; order of work |

mod arguments;
mod geometry;
mod room;
mod supported;
mod upload;

pub(crate) use arguments::MOST_COLUMNS;
pub use room::SearchRoom;
pub use supported::{check, check_guarantee};
pub(crate) use upload::WantedExtras;

use crate::batch::Batch;
use crate::device::{Beside, Buffer, Device, Grid, Kernel, ViewMut};
use crate::kv::KvPages;
use crate::{Error, image};
use arguments::{Arguments, MOST_COUNTS};
use attention::search::{JUDGES_OF_PART, PatternFamily, Search, Target};
use attention::shape::{HeadShape, Tiles};
use half::bf16;

/// The kernels of the search for one shape of heads.
pub struct DeviceSearch {
    heads: HeadShape,
    block_m: usize,
    /// What [`Kept`] says.
    totals: Buffer<u64>,
    means: Kernel,
    levels: RowsKernel,
    probes: RowsKernel,
    shares: Kernel,
    column_mass: RowsKernel,
    rank: Kernel,
    judge: RowsKernel,
    choose: Kernel,
    lower: Kernel,
    order: Kernel,
    gather: Kernel,
}

/// A stage of the search, as the table above has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Means of blocks.
    Summarise,
    /// Scores of (tile, block).
    Scores,
    /// Exact attention of probe rows.
    Probes,
    /// Ranks of block diagonals and of columns.
    Ranks,
    /// Recall by level, and by number of columns.
    Judging,
    /// Choice among candidates.
    Choice,
    /// Lists, order of work, gathered columns and centres.
    Lowering,
}

/// What searches kept, all their heads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// (query, key) pairs that their plans compute.
    pub computed_pairs: u64,
    /// Causal pairs times the attention mass kept, as estimated.
    pub recalled_pairs: u64,
}

/// What the kernels of a head_dim were compiled for.
struct Sizes {
    suffix: usize,
    /// Query rows of a warp.
    warp_rows: usize,
}

/// A kernel that multiplies rows with keys.
struct RowsKernel {
    kernel: Kernel,
    threads: u32,
    /// Shared memory that a launch asks for.
    bytes: usize,
    /// Warps of a block of threads.
    warps: usize,
    /// Query rows of a warp.
    warp_rows: usize,
}

impl RowsKernel {
    /// By products of warps: `buffers` buffers of 64 keys.
    fn of_warps(kernel: Kernel, suffix: usize, buffers: usize, warp_rows: usize) -> Self {
        Self { kernel, threads: THREADS, bytes: buffers * keys_bytes(suffix), warps: WARPS, warp_rows }
    }

    /// By products of warpgroups, `products` of 64 rows for each of two: rows lie in shared memory, too.
    fn of_warpgroups(device: &Device, name: &'static str, suffix: usize, products: usize) -> Result<Self, Error> {
        let bytes = (WARPGROUP_BUFFERS + WARPGROUPS * products) * keys_bytes(suffix) + 1024;
        let kernel = device.kernel(image!("search_sm90"), name, bytes)?.started_early();
        let warps = 4 * WARPGROUPS;
        Ok(Self { kernel, threads: 32 * warps as u32, bytes, warps, warp_rows: 16 * products })
    }

    /// How the warps of a block of threads are shared by the query heads of a group, as `HeadRows` in the kernels has it:
    /// blocks of threads for all heads, and rows that one has of each of its heads.
    fn of_groups(&self, heads: HeadShape) -> (usize, usize) {
        let group = heads.num_q_heads() / heads.num_kv_heads();
        let most = group.min(self.warps);
        (heads.num_kv_heads() * group.div_ceil(most), self.warps / most * self.warp_rows)
    }

    fn grid(&self, x: usize, y: usize, z: usize) -> Grid {
        Grid { blocks: (x as u32, y as u32, z as u32), threads: self.threads, shared_bytes: self.bytes as u32 }
    }
}

/// Bytes of 64 keys, or of 64 rows.
fn keys_bytes(suffix: usize) -> usize {
    64 * suffix * size_of::<bf16>()
}

impl Sizes {
    fn of(head_dim: usize) -> Option<Self> {
        let (suffix, warp_rows) = match head_dim {
            1..=64 => (64, 32),
            65..=128 => (128, 32),
            129..=192 => (192, 16),
            193..=256 => (256, 16),
            _ => return None,
        };
        head_dim.is_multiple_of(16).then_some(Self { suffix, warp_rows })
    }
}

const WARPS: usize = 4;
const THREADS: u32 = 32 * WARPS as u32;
/// The least and most kv blocks that one block of threads of `search_probes` takes, and one of `search_column_mass`.
const PROBE_SPANS: [usize; 2] = [4, 32];
const COLUMN_SPANS: [usize; 2] = [4, 16];
/// Keys that the kernels of scores and probes have on the way.
const BUFFERS: usize = 3;
/// Likewise by products of warpgroups, and warpgroups of a block of threads there.
const WARPGROUP_BUFFERS: usize = 2;
const WARPGROUPS: usize = 2;
/// A warp for each candidate, and a thread for each column.
const CHOOSE_THREADS: u32 = MOST_COLUMNS as u32;
const _: () = assert!(MOST_COLUMNS >= 32 * arguments::NUM_FAMILIES * MOST_COUNTS);
/// Every fourth row of a tile is scored.
const ROW_STRIDE: usize = 4;
/// Threads of `search_rank`, and shared memory that it has beside the attention of distances, which are ranked there.
const RANK_THREADS: u32 = 1024;
const RANK_BYTES: usize = 32 * 1024;
const MOST_BLOCKS: usize = 40_000;

/// Dynamic shared memory of `search_rank`: threads share distances where there are fewer of them.
fn distances_bytes(blocks: usize) -> usize {
    (blocks + 1).max(RANK_THREADS as usize) * size_of::<f32>()
}

impl DeviceSearch {
    /// Loads the kernels, for plans of tiles of `block_m` queries: those of
    /// [`Attend::plan_block_m`](crate::attend::Attend::plan_block_m).
    ///
    /// # Errors
    /// When the device, the head_dim or the height of tiles has none, or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape, block_m: usize) -> Result<Self, Error> {
        let capability = device.properties().capability;
        let Some(Sizes { suffix, warp_rows }) = Sizes::of(heads.head_dim()).filter(|_| capability >= (8, 0)) else {
            return Err(Error::Unsupported {
                what: "search",
                expected: "compute capability 8.0 or newer and a head_dim that is a multiple of 16 up to 256".into(),
                found: format!("{capability:?} and {}", heads.head_dim()),
            });
        };
        let tall = (suffix, block_m) == (64, 192);
        if !tall && block_m != warp_rows * ROW_STRIDE {
            let (expected, found) = (format!("tiles of {} queries", warp_rows * ROW_STRIDE), block_m.to_string());
            return Err(Error::Unsupported { what: "search", expected, found });
        }
        let warpgroups = capability.0 == 9 && heads.head_dim() == suffix && suffix <= 128;
        let of_dim = |image, name: [&'static str; 4], bytes| {
            let index = [64, 128, 192, 256].iter().position(|dim| *dim == suffix).expect("one of the sizes");
            device.kernel(image, name[index], bytes).map(Kernel::started_early)
        };
        macro_rules! of_dim {
            ($image:literal, $name:literal, $bytes:expr) => {{
                let names =
                    [concat!($name, "_d64"), concat!($name, "_d128"), concat!($name, "_d192"), concat!($name, "_d256")];
                of_dim(image!($image), names, $bytes * keys_bytes(suffix))?
            }};
        }
        let of_warps = |kernel, buffers| RowsKernel::of_warps(kernel, suffix, buffers, warp_rows);
        // `names`: for a head_dim of 64, and of 128.
        let of_warpgroups = |names: [&'static str; 2], products: usize| {
            RowsKernel::of_warpgroups(device, names[usize::from(suffix == 128)], suffix, products)
        };
        let distances_bytes = distances_bytes(MOST_BLOCKS).min(device.properties().shared_memory_bytes - RANK_BYTES);
        Ok(Self {
            heads,
            block_m,
            totals: device.zeros(2)?,
            means: device.kernel(image!("search_means"), "search_means", 0)?.started_early(),
            levels: match (warpgroups, tall) {
                // A product has sixteen rows of each of four tiles.
                (true, _) if block_m == if suffix == 64 { 192 } else { 128 } => {
                    of_warpgroups(["search_levels_sm90_d64", "search_levels_sm90_d128"], block_m / ROW_STRIDE / 16)?
                }
                (_, true) => {
                    let name = "search_levels_d64_tall";
                    of_warps(
                        device.kernel(image!("search_levels"), name, BUFFERS * keys_bytes(64))?.started_early(),
                        BUFFERS,
                    )
                }
                (_, false) => of_warps(of_dim!("search_levels", "search_levels", BUFFERS), BUFFERS),
            },
            probes: match warpgroups {
                true => of_warpgroups(["search_probes_sm90_d64", "search_probes_sm90_d128"], 1)?,
                false => of_warps(of_dim!("search_probes", "search_probes", BUFFERS), BUFFERS),
            },
            shares: device.kernel(image!("search_probes"), "search_shares", 0)?.started_early(),
            column_mass: match warpgroups {
                true => of_warpgroups(["search_column_mass_sm90_d64", "search_column_mass_sm90_d128"], 1)?,
                false => of_warps(of_dim!("search_ranks", "search_column_mass", 2), 2),
            },
            rank: device.kernel(image!("search_ranks"), "search_rank", distances_bytes)?.started_early(),
            judge: RowsKernel::of_warps(of_dim!("search_judge", "search_judge", 1), suffix, 1, JUDGES_OF_PART),
            choose: device.kernel(image!("search_choose"), "search_choose", 0)?.started_early(),
            lower: device.kernel(image!("search_lower"), "search_lower", 0)?.started_early(),
            order: device.kernel(image!("search_lower"), "search_order", 0)?.started_early(),
            gather: device.kernel(image!("search_lower"), "search_gather", 0)?,
        })
    }

    /// Queries of a tile of the plans it makes.
    pub fn block_m(&self) -> usize {
        self.block_m
    }

    /// Room for searches of chunks of up to these tiles.
    ///
    /// # Errors
    /// When there is none.
    pub fn room(&self, device: &Device, tiles: Tiles) -> Result<SearchRoom, Error> {
        Error::check_len("queries of a tile", self.block_m, tiles.block_m())?;
        SearchRoom::new(device, self.heads, tiles)
    }

    /// Finds the plan of every head of the one sequence of `batch`, whose keys and values are stored, and leaves it in
    /// `room`. The final `last_rows` queries see every key.
    ///
    /// Means and scores run beside probes and ranks, unless somebody wants to hear of each stage before its kernels are asked
    /// for: then one stage follows the other.
    ///
    /// # Errors
    /// When the shapes do not belong together, the search asks for what only the CPU has, or the driver refuses.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    pub fn run(
        &self,
        search: &Search,
        last_rows: usize,
        q: &Buffer<bf16>,
        kv: &mut KvPages,
        batch: &Batch,
        room: &mut SearchRoom,
        hear: Option<&mut dyn FnMut(Stage) -> Result<(), Error>>,
    ) -> Result<(), Error> {
        check(search)?;
        let tiles = self.check_batch(q, kv, batch)?;
        room.move_to(tiles, last_rows)?;
        kv.make_means()?;
        let arguments = self.arguments(search, last_rows, q, kv, batch, room)?;
        room.clear()?;
        let beside = if hear.is_none() { Some(self.device().beside()?) } else { None };
        let mut unheard = |_| Ok(());
        let begin = hear.unwrap_or(&mut unheard);
        // SAFETY: `Arguments` mirrors the kernels'; its buffers were made for at least as many heads, tiles, blocks and probes as
        // it says, as `SearchRoom::move_to` checked; pages are in the cache, as `check_batch` found. Means and levels, which the
        // second line writes, are read by what comes after it was joined.
        unsafe {
            self.score(tiles, &arguments, beside.as_ref(), begin)?;
            self.rank(tiles, &arguments, begin)?;
            beside.map_or(Ok(()), Beside::join)?;
            self.choose(tiles, batch, &arguments, begin)
        }
    }

    /// Means of blocks, and by them the level of every (tile, block).
    ///
    /// # Safety
    /// Buffers of `arguments` are as large as it says, here and in the two that follow.
    unsafe fn score(
        &self,
        tiles: Tiles,
        arguments: &Arguments,
        beside: Option<&Beside>,
        begin: &mut dyn FnMut(Stage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // SAFETY: the grids cover heads, tiles and blocks of `arguments`.
        let launch = |kernel: &Kernel, grid| unsafe {
            match beside {
                Some(beside) => beside.launch(kernel, grid, arguments),
                None => kernel.launch(grid, arguments),
            }
        };
        begin(Stage::Summarise)?;
        launch(&self.means, self.means_grid(tiles))?;
        begin(Stage::Scores)?;
        // A warp takes a tile.
        let by_tiles = tiles.num_tiles().div_ceil(self.levels.warps);
        launch(&self.levels.kernel, self.levels.grid(by_tiles, self.heads.num_q_heads(), 1))
    }

    /// What probe rows attend to, and by that the ranks of block diagonals and of columns.
    unsafe fn rank(
        &self,
        tiles: Tiles,
        arguments: &Arguments,
        begin: &mut dyn FnMut(Stage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { probes: probing, column_mass, .. } = self;
        let (heads, blocks) = (self.heads.num_q_heads() as u32, tiles.num_blocks());
        let (probes, columns) = (arguments.num_probes as usize, most_columns(arguments));
        // SAFETY: the grids cover heads, blocks and probes of `arguments`.
        unsafe {
            begin(Stage::Probes)?;
            let (groups, rows) = probing.of_groups(self.heads);
            let by_rows = probes.div_ceil(rows);
            let grid = probing.grid(self.spans(blocks, by_rows * groups, PROBE_SPANS), by_rows, groups);
            probing.kernel.launch(grid, arguments)?;
            self.shares.launch(plain(probes.div_ceil(WARPS), heads), arguments)?;
            begin(Stage::Ranks)?;
            if columns > 0 {
                let (groups, rows) = column_mass.of_groups(self.heads);
                let by_rows = (probes / 4).div_ceil(rows);
                let grid = column_mass.grid(self.spans(blocks, by_rows * groups, COLUMN_SPANS), by_rows, groups);
                column_mass.kernel.launch(grid, arguments)?;
            }
            let kinds = 1 + u32::from(columns > 0);
            let grid =
                Grid { blocks: (heads, kinds, 1), threads: RANK_THREADS, shared_bytes: distances_bytes(blocks) as u32 };
            self.rank.launch(grid, arguments)
        }
    }

    /// Recall of every candidate, the cheapest that is good enough, and its plan.
    unsafe fn choose(
        &self,
        tiles: Tiles,
        batch: &Batch,
        arguments: &Arguments,
        begin: &mut dyn FnMut(Stage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (heads, judge) = (self.heads.num_q_heads() as u32, &self.judge);
        let sections = self.heads.num_q_heads() / batch.section_heads(self.device(), self.heads);
        let wide = |x: usize, threads: u32| Grid { blocks: (x as u32, 1, 1), threads, shared_bytes: 0 };
        // SAFETY: the grids cover heads, tiles, extras and probes of `arguments`.
        unsafe {
            begin(Stage::Judging)?;
            let by_rows = (arguments.num_probes as usize).div_ceil(judge.warps * judge.warp_rows);
            let grid = judge.grid(WARPS + most_columns(arguments).div_ceil(64), by_rows, heads as usize);
            judge.kernel.launch(grid, arguments)?;
            begin(Stage::Choice)?;
            self.choose.launch(wide(heads as usize, CHOOSE_THREADS), arguments)?;
            begin(Stage::Lowering)?;
            let lists = tiles.num_tiles().div_ceil(WARPS);
            self.lower.launch(plain(lists + (arguments.extra_rows as usize).div_ceil(WARPS), heads), arguments)?;
            self.order.launch(wide(sections, 1024), arguments)
        }
    }

    /// In how many parts kv blocks are taken, each by `others` blocks of threads: all together three a multiprocessor, where
    /// parts of at least the first number of `spans` make so many, and parts of at most the second number.
    fn spans(&self, blocks: usize, others: usize, spans: [usize; 2]) -> usize {
        let wanted = (3 * self.device().properties().multiprocessors).div_ceil(others);
        blocks.div_ceil(blocks.div_ceil(wanted).clamp(spans[0], spans[1]))
    }

    /// What all searches kept since this was last asked; waits for them.
    ///
    /// # Errors
    /// Whatever went wrong in the work before.
    pub fn kept(&mut self) -> Result<Kept, Error> {
        let totals = self.totals.read()?;
        ViewMut::from(&mut self.totals).fill_zero()?;
        Ok(Kept { computed_pairs: totals[0], recalled_pairs: totals[1] })
    }

    fn device(&self) -> &Device {
        self.means.device()
    }

    fn check_batch(&self, q: &Buffer<bf16>, kv: &KvPages, batch: &Batch) -> Result<Tiles, Error> {
        self.means.check_device([("batch", batch.device()), ("queries", q.device())])?;
        batch.check_pages(kv)?;
        Error::check_heads(self.heads, kv.heads())?;
        Error::check_len("sequences to search", 1, batch.num_sequences())?;
        let range = batch.ranges()[0];
        Error::check_len("queries", range.q_len() * self.heads.num_q_heads() * self.heads.head_dim(), q.len())?;
        if range.num_blocks() > MOST_BLOCKS {
            let (expected, found) = (format!("up to {MOST_BLOCKS}"), range.num_blocks().to_string());
            return Err(Error::Unsupported { what: "kv blocks of a search", expected, found });
        }
        Ok(range.tiles(self.block_m)?)
    }

    /// Makes the means of all blocks of a sequence.
    fn summarise(&self, kv: &mut KvPages, batch: &Batch, sequence: usize) -> Result<(), Error> {
        kv.make_means()?;
        let range = batch.ranges()[sequence];
        let tiles = range.tiles(self.block_m)?;
        let arguments = self.operands(tiles, kv, batch, sequence)?;
        // SAFETY: `Arguments` mirrors the kernel's, which reads and writes the blocks of the sequence's pages.
        unsafe { self.means.launch(self.means_grid(tiles), &arguments) }
    }

    fn means_grid(&self, tiles: Tiles) -> Grid {
        let blocks = (tiles.num_blocks() as u32, self.heads.num_kv_heads() as u32, 1);
        Grid { blocks, threads: 256, shared_bytes: 0 }
    }

    /// Pages and sizes, and nothing to find.
    fn operands(&self, tiles: Tiles, kv: &mut KvPages, batch: &Batch, sequence: usize) -> Result<Arguments, Error> {
        let range = tiles.range();
        Ok(Arguments {
            k: kv.k.pointer(),
            v: kv.v.pointer(),
            batch: batch.arguments_of(self.device(), kv, sequence),
            head_dim: self.heads.head_dim() as i32,
            q_len: range.q_len() as i32,
            kv_len: range.kv_len() as i32,
            num_tiles: tiles.num_tiles() as i32,
            num_blocks: tiles.num_blocks() as i32,
            block_m: self.block_m as i32,
            sm_scale: self.heads.sm_scale(),
            ..means_arguments(kv)
        })
    }

    fn arguments(
        &self,
        search: &Search,
        last_rows: usize,
        q: &Buffer<bf16>,
        kv: &mut KvPages,
        batch: &Batch,
        room: &mut SearchRoom,
    ) -> Result<Arguments, Error> {
        let tiles = room.tiles();
        let (goal, share, of_candidates) = match search.target() {
            Target::Recall(share) => (0, share, Search::share_of_probes(share)),
            Target::Density(share) => (1, share, share as f64),
            Target::Cost(share) => (2, share, share as f64),
        };
        // The kernel takes this share of it for the budget.
        let dense_pairs_cost = Search::density_steps(share, tiles) / share as f64;
        let bit = |family| search.families.contains(&family) as u32;
        let families = bit(PatternFamily::BlockCluster)
            | bit(PatternFamily::IntervalSlash) << 1
            | bit(PatternFamily::Triangular) << 2;
        let mut counts = [0; MOST_COUNTS];
        counts.iter_mut().zip(&search.column_counts).for_each(|(to, count)| *to = *count as i32);
        let costs = arguments::Costs {
            gathered_step: search.cost.gathered_step,
            gather_key: search.cost.gather_key,
            gather_centre: search.cost.gather_centre,
            tile: search.cost.tile,
        };
        let arguments = Arguments {
            q: q.pointer(),
            costs,
            dense_cost: search.cost.dense(tiles),
            margin: search.cost.margin,
            share: of_candidates,
            share_of_part: Search::share_of_part(share),
            dense_pairs_cost,
            causal_pairs: tiles.range().causal_pairs() as f64,
            totals: self.totals.pointer_shared(),
            goal,
            families,
            counts,
            num_counts: search.column_counts.len() as i32,
            centres: search.centres as i32,
            last_rows: last_rows.min(i32::MAX as usize / 2) as i32,
            ..self.operands(tiles, kv, batch, 0)?
        };
        Ok(room.fill(arguments))
    }
}

/// The most columns that a candidate has.
fn most_columns(arguments: &Arguments) -> usize {
    arguments.counts[arguments.num_counts as usize - 1] as usize
}

/// `x` by `y` blocks of threads that share nothing.
fn plain(x: usize, y: u32) -> Grid {
    Grid { blocks: (x as u32, y, 1), threads: THREADS, shared_bytes: 0 }
}

/// Where the means of blocks are, and nothing else.
fn means_arguments(kv: &mut KvPages) -> Arguments {
    let means = kv.means.as_mut().expect("made by `summarise`");
    Arguments {
        k_means: means.k.pointer_mut(),
        v_means: means.v.pointer_mut(),
        k_means_bf16: means.k_bf16.pointer_mut(),
        ..Arguments::none()
    }
}

impl Arguments {
    /// Nothing to read and nowhere to write.
    fn none() -> Self {
        // SAFETY: null pointers and zeros are values of every field.
        unsafe { std::mem::zeroed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::search::Parts;
    use attention::shape::QueryRange;

    #[test]
    fn the_kernels_have_room_for_the_parts_of_the_longest_chunk() {
        let rows = MOST_BLOCKS * attention::BLOCK_N;
        let tiles = QueryRange::new(rows, rows).unwrap().tiles(128).unwrap();
        assert_eq!(Parts::of(tiles).number(), arguments::MOST_PARTS);
    }
}
