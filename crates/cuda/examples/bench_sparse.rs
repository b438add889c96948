//! Attention by plans and the search for them: milliseconds and TFLOP/s, one JSON object a line.
//!
//! ```console
//! $ bench_sparse                                     # 32/8 heads of 128
//! $ bench_sparse --heads 14,2,64 --lengths 8192,32768 --runs 30
//! ```
//!
//! Plans are random: every block that a tile sees whole is listed with the same probability, by each query head for
//! itself. Listed pairs count as 4 head_dim operations, those of blocks on the diagonal all of them; columns and centres
//! count too.

use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::search::{Search, Target};
use attention::shape::{HeadShape, QueryRange, Tiles};
use cuda::attend::Attend;
use cuda::batch::{Batch, SequencePages};
use cuda::device::{Buffer, Clock, Device};
use cuda::kv::KvPages;
use cuda::search::{DeviceSearch, Stage};
use half::bf16;
use serde_json::json;
use std::error::Error;
use std::process::ExitCode;

const PAGE_SIZE: usize = 64;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut heads = HeadShape::new(32, 8, 128)?;
    let mut lengths = vec![8192, 32768, 131_072];
    let mut runs = 9;
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let numbers: Vec<usize> = value.split(',').flat_map(str::parse).collect();
        match (flag.as_str(), &numbers[..]) {
            ("--heads", &[q, kv, dim]) => heads = HeadShape::new(q, kv, dim)?,
            ("--lengths", lens) if !lens.is_empty() => lengths = lens.to_vec(),
            ("--runs", &[n]) => runs = n.max(1),
            _ => return Err(format!("cannot read {flag} {value}").into()),
        }
    }
    let device = Device::open(0)?;
    eprintln!("{}", device.properties());
    for len in lengths {
        let mut bench = Bench::new(&device, heads, len, runs)?;
        let dense = bench.dense()?;
        for density in [0.065, 0.11, 0.26, 0.5] {
            bench.sparse(density, 0, false, dense)?;
        }
        bench.sparse(0.11, 256, true, dense)?;
        bench.search(dense)?;
    }
    Ok(())
}

struct Bench<'a> {
    device: &'a Device,
    heads: HeadShape,
    attend: Attend,
    search: DeviceSearch,
    tiles: Tiles,
    runs: usize,
    q: Buffer<bf16>,
    o: Buffer<bf16>,
    kv: KvPages,
    batch: Batch,
}

impl<'a> Bench<'a> {
    fn new(device: &'a Device, heads: HeadShape, len: usize, runs: usize) -> Result<Self, Box<dyn Error>> {
        let attend = Attend::new(device, heads)?;
        let search = DeviceSearch::new(device, heads, attend.plan_block_m())?;
        let pages: Vec<u32> = (0..len.div_ceil(PAGE_SIZE) as u32).collect();
        let mut kv = KvPages::new(device, heads, PAGE_SIZE, pages.len())?;
        kv.write(&noise(kv.len()), &noise(kv.len()))?;
        let q = device.upload(&noise(len * heads.num_q_heads() * heads.head_dim()))?;
        let range = QueryRange::new(len, len)?;
        let batch = Batch::new(device, &[SequencePages { range, pages: &pages }], attend.block_m(), PAGE_SIZE)?;
        let tiles = range.tiles(search.block_m())?;
        Ok(Self { device, heads, attend, tiles, runs, o: device.zeros(q.len())?, q, kv, batch, search })
    }

    /// Median, fastest and slowest of runs, each several in a row where they are short.
    fn time(&mut self, mut work: impl FnMut(&mut Self) -> Result<(), cuda::Error>) -> Result<[f64; 3], cuda::Error> {
        let in_a_row = (32_768 / self.tiles.range().q_len()).clamp(1, 16);
        let mut times = Vec::new();
        for run in 0..self.runs + 2 {
            let timer = self.device.timer()?;
            for _ in 0..in_a_row {
                work(self)?;
            }
            let elapsed = timer.elapsed_ms()? / in_a_row as f64;
            if run >= 2 {
                times.push(elapsed);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok([times[times.len() / 2], times[0], times[times.len() - 1]])
    }

    fn print(&self, what: &str, [median, fastest, slowest]: [f64; 3], mut more: serde_json::Value) {
        let heads = [self.heads.num_q_heads(), self.heads.num_kv_heads(), self.heads.head_dim()];
        let common = json!({
            "what": what, "device": self.device.properties().name, "kernel": self.attend.name(), "heads": heads,
            "tokens": self.tiles.range().q_len(), "median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest,
            "runs": self.runs,
        });
        let mut line = common.as_object().cloned().unwrap_or_default();
        line.append(more.as_object_mut().expect("an object"));
        println!("{}", serde_json::Value::Object(line));
    }

    fn dense(&mut self) -> Result<f64, Box<dyn Error>> {
        let times = self.time(|bench| {
            let Self { q, o, kv, batch, attend, .. } = bench;
            attend.launch(q, kv, batch, o, None, None)
        })?;
        let (len, d) = (self.tiles.range().q_len() as f64, self.heads.head_dim() as f64);
        let flop = 4.0 * d * self.heads.num_q_heads() as f64 * len * len / 2.0;
        self.print("dense", times, json!({"tflops": flop / times[0] / 1e9}));
        Ok(times[0])
    }

    fn sparse(&mut self, density: f64, columns: usize, centres: bool, dense: f64) -> Result<(), Box<dyn Error>> {
        let tiles = self.tiles;
        let mut random = Random(density.to_bits());
        let heads = (0..self.heads.num_q_heads()).map(|_| {
            let mut own: Vec<u32> =
                (0..columns).map(|_| (random.next() * tiles.range().kv_len() as f64) as u32).collect();
            own.sort_unstable();
            own.dedup();
            let plan = SparsePlan::from_rule(tiles, 0, own, centres, |_, keep| {
                keep.iter_mut().for_each(|keep| *keep = random.next() < density);
            });
            plan.map(HeadPlan::Sparse)
        });
        let plan = Plan { heads: heads.collect::<Result<_, _>>()? };
        let mut listed = 0;
        let mut extras = 0;
        for head in &plan.heads {
            let HeadPlan::Sparse(plan) = head else { continue };
            for tile in 0..tiles.num_tiles() {
                let (rows, blocks) = (tiles.positions(tile).len(), plan.blocks(tile).len());
                listed += rows * blocks * 64;
                let full = tiles.full_blocks(tile);
                let seen = plan.columns().partition_point(|column| (*column as usize) < full * 64);
                extras += rows * (seen + if centres { full } else { 0 });
            }
        }
        let uploaded = self.search.upload(&[&plan], &mut self.kv, &self.batch)?;
        let times = self.time(|bench| {
            let Self { q, o, kv, batch, attend, .. } = bench;
            attend.launch_plan(q, kv, batch, &uploaded, o, None)
        })?;
        let flop = 4.0 * self.heads.head_dim() as f64;
        let more = json!({
            "density": plan.density(tiles.range()), "block_density": density, "columns": columns, "centres": centres,
            "tflops": flop * listed as f64 / times[0] / 1e9,
            "tflops_with_extras": flop * (listed + extras) as f64 / times[0] / 1e9,
            "of_dense": times[0] / dense,
        });
        self.print("sparse", times, more);
        Ok(())
    }

    fn search(&mut self, dense: f64) -> Result<(), Box<dyn Error>> {
        let mut search = Search::new(Target::Density(0.1))?;
        search.cost.margin = 1.0;
        let mut room = self.search.room(self.device, self.tiles)?;
        let times = self.time(|bench| {
            let Self { q, kv, batch, search: on_device, .. } = bench;
            on_device.run(&search, 64, q, kv, batch, &mut room, &mut |_| Ok(()))
        })?;
        let mut stages: Vec<(Stage, Vec<f64>)> = Vec::new();
        let mut clock = Clock::new(self.device);
        for _ in 0..self.runs {
            let Self { q, kv, batch, search: on_device, .. } = &mut *self;
            on_device.run(&search, 64, q, kv, batch, &mut room, &mut |stage| clock.mark(stage))?;
            for (stage, ms) in clock.read()? {
                match stages.iter_mut().find(|(known, _)| *known == stage) {
                    Some((_, times)) => times.push(ms),
                    None => stages.push((stage, vec![ms])),
                }
            }
        }
        let of_stages: serde_json::Map<_, _> = (stages.into_iter())
            .map(|(stage, mut times)| {
                times.sort_by(f64::total_cmp);
                (format!("{stage:?}").to_lowercase(), json!(times[times.len() / 2]))
            })
            .collect();
        self.print("search", times, json!({"stages_ms": of_stages, "of_dense": times[0] / dense}));
        let found = self.time(|bench| {
            let Self { q, o, kv, batch, attend, .. } = bench;
            attend.launch_plan(q, kv, batch, room.plan(), o, None)
        })?;
        let density = room.planned(&search)?.plan.density(self.tiles.range());
        self.print("found", found, json!({"density": density, "of_dense": found[0] / dense}));
        Ok(())
    }
}

/// Uniform in [0, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// About normal numbers, as activations are: the clock of a GPU depends on what it multiplies.
fn noise(n: usize) -> Vec<bf16> {
    let mut random = Random(n as u64);
    let period = n.min(1 << 20);
    let values: Vec<bf16> =
        (0..period).map(|_| bf16::from_f32((0..12).map(|_| random.next() as f32).sum::<f32>() - 6.0)).collect();
    values.iter().copied().cycle().take(n).collect()
}
