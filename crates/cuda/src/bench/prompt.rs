//! A prompt, or a chunk of one: dense attention, attention by plans, and the search for them.

use super::times::Times;
use super::work::Work;
use super::{KernelBench, Row, What};
use crate::Error;
use crate::attend::Attend;
use crate::batch::{Batch, SequencePages};
use crate::device::{Buffer, Clock, Device};
use crate::kv::KvPages;
use crate::random::{RandomPlan, fill, queries};
use crate::search::{DeviceSearch, Stage};
use attention::BLOCK_N;
use attention::search::{Search, Target};
use attention::shape::{QueryRange, Tiles};
use half::bf16;

/// Queries that see every key, as in a prefill.
const LAST_ROWS: usize = BLOCK_N;
/// Share of all pairs that the search aims at.
const SEARCHED_DENSITY: f32 = 0.1;

/// The rows that were asked for, but for decoding.
pub(super) fn rows(bench: &KernelBench, device: &Device, range: QueryRange) -> Result<Vec<Row>, Error> {
    let wants = |what| bench.what.contains(&what);
    let mut prompt = Prompt::new(bench, device, range)?;
    let mut rows = Vec::new();
    if wants(What::Dense) {
        let row = prompt.dense()?;
        prompt.dense_ms = Some(row.times.median_ms);
        rows.push(row);
    }
    if !wants(What::Sparse) && !wants(What::Search) {
        return Ok(rows);
    }
    let search = DeviceSearch::new(device, bench.heads, prompt.attend.plan_block_m())?;
    let tiles = range.tiles(search.block_m())?;
    if wants(What::Sparse) {
        for plan in plans(bench) {
            rows.push(prompt.sparse(&search, tiles, &plan)?);
        }
    }
    if wants(What::Search) {
        rows.extend(prompt.search(&search, tiles)?);
    }
    Ok(rows)
}

/// Each density bare, and with the extras, if any are wanted.
fn plans(bench: &KernelBench) -> Vec<RandomPlan> {
    let &KernelBench { columns, centres, .. } = bench;
    let mut plans = Vec::new();
    for &density in &bench.densities {
        plans.push(RandomPlan { density, columns: 0, centres: false });
        if columns > 0 || centres {
            plans.push(RandomPlan { density, columns, centres });
        }
    }
    plans
}

/// Operands of one layer.
struct Prompt<'a> {
    bench: &'a KernelBench,
    device: &'a Device,
    range: QueryRange,
    attend: Attend,
    q: Buffer<bf16>,
    o: Buffer<bf16>,
    kv: KvPages,
    batch: Batch,
    /// Dense attention's median, once it was timed.
    dense_ms: Option<f64>,
}

impl<'a> Prompt<'a> {
    fn new(bench: &'a KernelBench, device: &'a Device, range: QueryRange) -> Result<Self, Error> {
        let attend = bench.kernel.load(device, bench.heads)?;
        let mut kv = KvPages::new(device, bench.heads, BLOCK_N, range.num_blocks())?;
        fill(&mut kv)?;
        let q = queries(device, bench.heads, range.q_len())?;
        let o = device.zeros(q.len())?;
        let pages: Vec<u32> = (0..kv.num_pages() as u32).collect();
        let batch = Batch::new(device, &[SequencePages { range, pages: &pages }], attend.block_m(), BLOCK_N)?;
        Ok(Self { bench, device, range, attend, q, o, kv, batch, dense_ms: None })
    }

    /// Short work several times in a row, so that the host's part of a launch is hidden, as it is inside a model.
    fn in_a_row(&self) -> usize {
        (32_768 / self.range.q_len()).clamp(1, 16)
    }

    fn row(&self, what: &'static str, times: Times) -> Row {
        let row = Row::new(self.bench, self.device, what, self.attend.name(), self.range.q_len(), times);
        Row { of_dense: self.dense_ms.map(|dense| times.median_ms / dense), ..row }
    }

    fn dense(&mut self) -> Result<Row, Error> {
        let in_a_row = self.in_a_row();
        let Self { attend, q, kv, batch, o, .. } = self;
        let launch = || attend.launch(q, kv, batch, o, None, None);
        let times = Times::measure(self.device, self.bench.runs, in_a_row, launch)?;
        let [tflops, _] =
            Work::dense(self.bench.heads, self.range).tflops(self.bench.heads.head_dim(), times.median_ms);
        let row = self.row("dense", times);
        Ok(Row { density: Some(1.0), tflops: Some(tflops), of_dense: Some(1.0), ..row })
    }

    fn sparse(&mut self, search: &DeviceSearch, tiles: Tiles, random: &RandomPlan) -> Result<Row, Error> {
        let heads = self.bench.heads;
        let plan = random.plan(tiles, heads.num_q_heads())?;
        let on_device = search.upload(&[&plan], &mut self.kv, &self.batch)?;
        let in_a_row = self.in_a_row();
        let Self { attend, q, kv, batch, o, .. } = self;
        let launch = || attend.launch_plan(q, kv, batch, &on_device, o, None);
        let times = Times::measure(self.device, self.bench.runs, in_a_row, launch)?;
        let [tflops, with_extras] = Work::of(&plan, self.range)?.tflops(heads.head_dim(), times.median_ms);
        Ok(Row {
            density: Some(plan.density(self.range)),
            block_density: Some(random.density),
            columns: Some(random.columns.min(self.range.kv_len())),
            centres: Some(random.centres),
            tflops: Some(tflops),
            tflops_with_extras: Some(with_extras),
            ..self.row("sparse", times)
        })
    }

    /// The whole search, its stages, and attention by what it found.
    fn search(&mut self, on_device: &DeviceSearch, tiles: Tiles) -> Result<Vec<Row>, Error> {
        let mut search = Search::new(Target::Density(SEARCHED_DENSITY))?;
        // The question is what a search takes, not whether it pays.
        search.cost.margin = 1.0;
        let mut room = on_device.room(self.device, tiles)?;
        let (in_a_row, runs) = (self.in_a_row(), self.bench.runs.max(1));
        let Self { attend, q, kv, batch, o, .. } = self;
        let times = Times::measure(self.device, runs, in_a_row, || {
            on_device.run(&search, LAST_ROWS, q, kv, batch, &mut room, None)
        })?;
        // Stages apart, since asking for the time of each takes time.
        let mut of_runs = Vec::new();
        let mut clock = Clock::new(self.device);
        for _ in 0..runs {
            on_device.run(&search, LAST_ROWS, q, kv, batch, &mut room, Some(&mut |stage| clock.mark(stage)))?;
            of_runs.push(clock.read()?);
        }
        let launch = || attend.launch_plan(q, kv, batch, room.plan(), o, None);
        let found = Times::measure(self.device, runs, in_a_row, launch)?;
        let plan = room.planned(&search)?.plan;
        let [tflops, with_extras] = Work::of(&plan, self.range)?.tflops(self.bench.heads.head_dim(), found.median_ms);

        let mut rows = vec![Row { kernel: "search", ..self.row("search", times) }];
        rows.extend(stages(of_runs).into_iter().map(|(stage, times)| Row {
            stage: Some(format!("{stage:?}").to_lowercase()),
            kernel: "search",
            ..self.row("stage", times)
        }));
        rows.push(Row {
            density: Some(plan.density(self.range)),
            tflops: Some(tflops),
            tflops_with_extras: Some(with_extras),
            ..self.row("found", found)
        });
        Ok(rows)
    }
}

/// Times of each stage, in the order in which they begin; one that comes several times in a run counts as one.
fn stages(runs: Vec<Vec<(Stage, f64)>>) -> Vec<(Stage, Times)> {
    let mut stages: Vec<(Stage, Vec<f64>)> = Vec::new();
    for (run, parts) in runs.into_iter().enumerate() {
        for (stage, ms) in parts {
            let known = stages.iter().position(|(known, _)| *known == stage).unwrap_or_else(|| {
                stages.push((stage, vec![0.0; run]));
                stages.len() - 1
            });
            let times = &mut stages[known].1;
            times.resize(run + 1, 0.0);
            times[run] += ms;
        }
    }
    stages.into_iter().map(|(stage, times)| (stage, Times::of(times))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Kernel;
    use attention::shape::HeadShape;

    fn bench() -> KernelBench {
        KernelBench {
            heads: HeadShape::new(4, 2, 64).unwrap(),
            prefix: 0,
            densities: vec![0.1, 0.5],
            columns: 0,
            centres: false,
            sequences: 1,
            kernel: Kernel::Best,
            what: What::ALL.to_vec(),
            runs: 3,
        }
    }

    #[test]
    fn every_density_has_a_row_and_one_with_extras_if_there_are() {
        let rows =
            |bench: &KernelBench| plans(bench).iter().map(|p| (p.density, p.columns, p.centres)).collect::<Vec<_>>();
        assert_eq!(rows(&bench()), [(0.1, 0, false), (0.5, 0, false)]);
        let with = KernelBench { columns: 256, centres: true, densities: vec![0.1], ..bench() };
        assert_eq!(rows(&with), [(0.1, 0, false), (0.1, 256, true)]);
        let centres = KernelBench { centres: true, densities: vec![0.1], ..bench() };
        assert_eq!(rows(&centres), [(0.1, 0, false), (0.1, 0, true)]);
    }

    #[test]
    fn stages_are_added_within_a_run_and_ordered_by_their_beginning() {
        let run = |ms: f64| vec![(Stage::Scores, ms), (Stage::Probes, 1.0), (Stage::Scores, ms)];
        let found = stages(vec![run(1.0), run(3.0), run(2.0)]);
        let names: Vec<Stage> = found.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(names, [Stage::Scores, Stage::Probes]);
        assert_eq!(found[0].1, Times { median_ms: 4.0, fastest_ms: 2.0, slowest_ms: 6.0 });
        assert_eq!(found[1].1.median_ms, 1.0);
    }
}
