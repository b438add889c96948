//! What is timed: plans and searches on random operands.

use super::plans::Pattern;
use crate::Error;
use crate::attend::Attend;
use crate::batch::{Batch, SequencePages};
use crate::device::{Buffer, Clock, Device};
use crate::kv::KvPages;
use crate::plan::DevicePlan;
use crate::precision::Precision;
use crate::random::{fill, queries};
use crate::search::{DeviceSearch, SearchRoom, Stage, WantedExtras};
use attention::BLOCK_N;
use attention::plan::Plan;
use attention::search::{Search, Target};
use attention::shape::{HeadShape, QueryRange, Tiles};
use half::bf16;

/// In a row: times are those of a device that always has more to do, as in a prefill.
const ATTENTIONS: usize = 4;
const GATHERINGS: usize = 16;
const SEARCHES: usize = 3;
/// Queries that see every key, as in a prefill.
const LAST_ROWS: usize = BLOCK_N;

pub(super) struct Bench<'a> {
    device: &'a Device,
    heads: HeadShape,
    attend: Attend,
    search: DeviceSearch,
    goal: Search,
    kv: KvPages,
    lengths: Vec<Length>,
}

/// Operands of a prompt that comes whole.
struct Length {
    tiles: Tiles,
    q: Buffer<bf16>,
    o: Buffer<bf16>,
    batch: Batch,
    room: SearchRoom,
}

/// A plan, ready to run.
pub(super) struct Prepared {
    pub tiles: Tiles,
    pub plan: Plan,
    length: usize,
    on_device: DevicePlan,
    extras: Vec<WantedExtras>,
}

impl<'a> Bench<'a> {
    /// Of prompts of these lengths, in tokens.
    pub fn new(device: &'a Device, heads: HeadShape, precision: Precision, lengths: &[usize]) -> Result<Self, Error> {
        let attend = Attend::with_precision(device, heads, precision)?;
        let search = DeviceSearch::new(device, heads, attend.plan_block_m())?;
        let most = lengths.iter().copied().max().unwrap_or(0);
        let pages: Vec<u32> = (0..most.div_ceil(BLOCK_N) as u32).collect();
        let mut kv = KvPages::new(device, heads, BLOCK_N, pages.len())?;
        fill(&mut kv)?;
        let length = |&len: &usize| {
            let q = queries(device, heads, len)?;
            let range = QueryRange::new(len, len)?;
            let tiles = range.tiles(search.block_m())?;
            let pages = &pages[..len.div_ceil(BLOCK_N)];
            let batch = Batch::new(device, &[SequencePages { range, pages }], attend.block_m(), BLOCK_N)?;
            Ok(Length { tiles, o: device.zeros(q.len())?, q, batch, room: search.room(device, tiles)? })
        };
        let lengths = lengths.iter().map(length).collect::<Result<_, Error>>()?;
        let mut goal = Search::new(Target::Density(0.1))?;
        // The question is what a search costs, not whether it pays.
        goal.cost.margin = 1.0;
        Ok(Self { device, heads, attend, search, goal, kv, lengths })
    }

    /// Tiles of the length of this index.
    pub fn tiles(&self, length: usize) -> Tiles {
        self.lengths[length].tiles
    }

    /// Puts a plan of one of the lengths on the device.
    pub fn prepare(&mut self, pattern: &Pattern) -> Result<Prepared, Error> {
        let found = self.lengths.iter().position(|length| length.tiles.range().q_len() == pattern.len);
        let length = found.expect("patterns are of the lengths");
        let Length { tiles, batch, .. } = &self.lengths[length];
        let plan = pattern.plan(*tiles, self.heads.num_q_heads())?;
        let (on_device, extras) = self.search.upload_with_extras(&[&plan], &mut self.kv, batch)?;
        Ok(Prepared { tiles: *tiles, plan, length, on_device, extras })
    }

    /// Executing a plan whose columns and centres are gathered.
    pub fn attend_us(&mut self, plan: &Prepared) -> Result<f64, Error> {
        self.attend(plan)?;
        let timer = self.device.timer()?;
        for _ in 0..ATTENTIONS {
            self.attend(plan)?;
        }
        Ok(timer.elapsed_ms()? * 1e3 / ATTENTIONS as f64)
    }

    /// Gathering the columns and centres of a plan.
    pub fn gather_us(&mut self, plan: &mut Prepared) -> Result<f64, Error> {
        // Longer than all that follows takes to ask for.
        self.attend(plan)?;
        let timer = self.device.timer()?;
        for _ in 0..GATHERINGS {
            let batch = &self.lengths[plan.length].batch;
            self.search.gather(&mut plan.on_device, &mut plan.extras, &mut self.kv, batch)?;
        }
        Ok(timer.elapsed_ms()? * 1e3 / GATHERINGS as f64)
    }

    /// A search of the length of this index: scores, what grows with probe rows, and the rest. Stages that run beside each
    /// other share the time of the whole as they would take it one after the other.
    pub fn stages_us(&mut self, length: usize) -> Result<[f64; 3], Error> {
        let whole = self.search_us(length)?;
        let mut clock = Clock::new(self.device);
        for _ in 0..SEARCHES {
            self.run_search(length, Some(&mut |stage| clock.mark(stage)))?;
        }
        let mut times = [0.0; 3];
        for (stage, ms) in clock.read()? {
            let part = match stage {
                Stage::Scores => 0,
                Stage::Probes | Stage::Judging => 1,
                Stage::Summarise | Stage::Ranks | Stage::Choice | Stage::Lowering => 2,
            };
            times[part] += ms;
        }
        let sum: f64 = times.iter().sum();
        Ok(times.map(|part| whole * part / sum))
    }

    /// All of a search of the length of this index.
    pub fn search_us(&mut self, length: usize) -> Result<f64, Error> {
        self.run_search(length, None)?;
        let timer = self.device.timer()?;
        for _ in 0..SEARCHES {
            self.run_search(length, None)?;
        }
        Ok(timer.elapsed_ms()? * 1e3 / SEARCHES as f64)
    }

    fn attend(&mut self, plan: &Prepared) -> Result<(), Error> {
        let Length { q, o, batch, .. } = &mut self.lengths[plan.length];
        self.attend.launch_plan(q, &self.kv, batch, &plan.on_device, o, None)
    }

    fn run_search(
        &mut self,
        length: usize,
        hear: Option<&mut dyn FnMut(Stage) -> Result<(), Error>>,
    ) -> Result<(), Error> {
        let Length { q, batch, room, .. } = &mut self.lengths[length];
        self.search.run(&self.goal, LAST_ROWS, q, &mut self.kv, batch, room, hear)
    }
}
