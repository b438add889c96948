//! Measures the terms of the cost model on this machine.
//!
//! Real calls on random operands, each term from the difference of two: what they share, and what starting them costs,
//! cancels. One round times everything, so that a machine that grows slower meanwhile treats all alike; each term is the
//! median over rounds.

use super::parts::num_panels;
use super::probe::Probes;
use super::{CostModel, Search, Target};
use crate::attend::{Output, attend};
use crate::kv::{KvPages, KvView};
use crate::pattern::{BlockLevels, Triangular};
use crate::plan::{HeadPlan, Plan};
use crate::planner::{Planner, Scene};
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange, Tiles};
use crate::simd::Simd;
use crate::{BLOCK_M, BLOCK_N, Error};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Keys of every call: as many as a long prompt has, more than the caches near a core hold.
const KV_LEN: usize = 8192;
/// Queries of a chunk.
const CHUNK: usize = 4096;
/// Gathered columns: groups enough to be told from noise.
const COLUMNS: usize = 1024;
const ROUNDS: std::ops::RangeInclusive<usize> = 3..=15;
/// No further round starts after this time.
const ENOUGH: Duration = Duration::from_millis(1500);

/// The cost model of heads of `head_dim` elements on the current rayon pool: about two seconds.
///
/// # Errors
/// When `head_dim` is none, or the machine is so busy that what was measured cannot be.
pub fn calibrate(simd: Simd, head_dim: usize) -> Result<CostModel, Error> {
    // A head for each thread: every thread is busy, as in a prefill, and a call takes as long as one head.
    let heads = HeadShape::new(rayon::current_num_threads(), 1, head_dim)?;
    let table: Vec<u32> = (0..(KV_LEN / BLOCK_N) as u32).collect();
    let mut pages = KvPages::new(heads, table.len());
    let (keys, values) = (random(KV_LEN * head_dim), random(KV_LEN * head_dim));
    pages.append_rows(&table, 0, &keys, &values)?;
    let view = pages.view(&table, KV_LEN)?;
    let (chunk, tile) = (Operands::new(simd, heads, CHUNK)?, Operands::new(simd, heads, BLOCK_N)?);
    let mut bench = Bench { simd, kv: &view, chunk, tile };

    bench.round()?; // Pays for cold caches and page faults.
    let started = Instant::now();
    let mut rounds = Vec::new();
    while rounds.len() < *ROUNDS.start() || rounds.len() < *ROUNDS.end() && started.elapsed() < ENOUGH {
        rounds.push(bench.round()?);
    }
    let typical = |term: fn(&CostModel) -> f64| median(rounds.iter().map(term).collect());
    let measured = CostModel {
        step_us: Some(typical(|costs| costs.step_us.unwrap_or(f64::NAN))),
        gathered_step: typical(|costs| costs.gathered_step),
        // Small terms are differences of large ones: noise can make them negative, which only means next to nothing.
        gather_key: typical(|costs| costs.gather_key).max(0.0),
        gather_centre: typical(|costs| costs.gather_centre).max(0.0),
        tile: typical(|costs| costs.tile).max(0.0),
        score_block: typical(|costs| costs.score_block),
        probe_block: typical(|costs| costs.probe_block),
        choose_block: typical(|costs| costs.choose_block).max(0.0),
        ..CostModel::default()
    };
    measured.check().map_err(|error| match error {
        Error::Calibration(message) => Error::Calibration(format!("{message}: the machine is too busy to be measured")),
        other => other,
    })?;
    Ok(measured)
}

/// Queries at the end of the keys, and room for what they attend to.
struct Operands {
    tiles: Tiles,
    queries: Queries,
    output: Output,
}

impl Operands {
    fn new(simd: Simd, heads: HeadShape, q_len: usize) -> Result<Self, Error> {
        let rows = random(q_len * heads.num_q_heads() * heads.head_dim());
        let queries = Queries::from_rows(simd, heads, &rows)?;
        Ok(Self { tiles: QueryRange::new(q_len, KV_LEN)?.tiles(BLOCK_M)?, queries, output: Output::new(heads, q_len) })
    }
}

struct Bench<'a> {
    simd: Simd,
    kv: &'a KvView<'a>,
    chunk: Operands,
    /// One tile: what a head costs once weighs most here.
    tile: Operands,
}

impl Bench<'_> {
    /// Times every call and solves for every term.
    fn round(&mut self) -> Result<CostModel, Error> {
        let (tiles, one_tile) = (self.chunk.tiles, self.tile.tiles);
        let (num_tiles, blocks) = (tiles.num_tiles() as f64, tiles.num_blocks() as f64);
        let heads = self.kv.heads().num_q_heads();
        let near = window(heads, tiles, 0, false)?;
        let near_steps = steps(&near, tiles);
        let dense_steps: usize = (0..tiles.num_tiles()).map(|tile| tiles.causal_blocks(tile)).sum();

        let dense_us = attend_us(self.simd, self.kv, &mut self.chunk, &Plan::dense(heads))?;
        let near_us = attend_us(self.simd, self.kv, &mut self.chunk, &near)?;
        let columns_us = attend_us(self.simd, self.kv, &mut self.chunk, &window(heads, tiles, COLUMNS, false)?)?;
        let centres_us = attend_us(self.simd, self.kv, &mut self.chunk, &window(heads, tiles, 0, true)?)?;
        let tile_us = attend_us(self.simd, self.kv, &mut self.tile, &window(heads, one_tile, 0, false)?)?;
        let tile_columns_us = attend_us(self.simd, self.kv, &mut self.tile, &window(heads, one_tile, COLUMNS, false)?)?;
        let (score_us, probe_us, search_us) = self.search_us()?;

        let step = (dense_us - near_us) / (dense_steps as f64 - near_steps);
        let groups = (COLUMNS / BLOCK_N) as f64;
        let (of_chunk, of_tile) = (columns_us - near_us, tile_columns_us - tile_us);
        let gathered = (of_chunk - of_tile) / (groups * (num_tiles - 1.0));
        let centre_groups = (blocks / BLOCK_N as f64).ceil();
        Ok(CostModel {
            step_us: Some(step),
            gathered_step: gathered / step,
            gather_key: (of_tile - groups * gathered) / COLUMNS as f64 / step,
            gather_centre: (centres_us - near_us - num_tiles * centre_groups * gathered) / blocks / step,
            tile: (near_us - near_steps * step) / num_tiles / step,
            score_block: score_us / (num_tiles * blocks) / step,
            probe_block: probe_us / (num_panels(tiles.range()) as f64 * blocks) / step,
            choose_block: (search_us - score_us - probe_us) / blocks / step,
            ..CostModel::default()
        })
    }

    /// Times of block scores, probes and whole search.
    fn search_us(&self) -> Result<(f64, f64, f64), Error> {
        let (simd, kv, queries, tiles) = (self.simd, self.kv, &self.chunk.queries, self.chunk.tiles);
        let mut search = Search::new(Target::Recall(0.95))?;
        // The question is what a search costs, not whether it pays.
        search.cost.margin = f64::INFINITY;
        let each_head = |run: &(dyn Fn(usize) -> Result<(), Error> + Sync)| {
            (0..kv.heads().num_q_heads()).into_par_iter().try_for_each(run)
        };
        let score_us = time_us(|| {
            each_head(&|head| BlockLevels::measure(simd, search.selector, queries, head, kv, tiles).map(drop))
        })?;
        let probe_us = time_us(|| each_head(&|head| Probes::measure(simd, queries, kv, tiles, head, |_| Ok(()))))?;
        let scene = Scene { simd, layer: 0, queries, kv, tiles, last_rows: BLOCK_N };
        let search_us = time_us(|| search.plan(&scene).map(drop))?;
        Ok((score_us, probe_us, search_us))
    }
}

/// Sink, window and diagonal, and `columns` of the keys far from every query.
fn window(heads: usize, tiles: Tiles, columns: usize, centres: bool) -> Result<Plan, Error> {
    let columns = (BLOCK_N as u32..(KV_LEN / 2) as u32).step_by(3).take(columns).collect();
    let plan = Triangular { sink: BLOCK_N, window: BLOCK_N }.plan(tiles, 0, columns, centres)?;
    Ok(Plan { heads: vec![HeadPlan::Sparse(plan); heads] })
}

/// Block steps of the first head.
fn steps(plan: &Plan, tiles: Tiles) -> f64 {
    match plan.heads.first() {
        Some(HeadPlan::Sparse(plan)) => (0..plan.num_tiles()).map(|tile| plan.blocks(tile).len()).sum::<usize>() as f64,
        _ => (0..tiles.num_tiles()).map(|tile| tiles.causal_blocks(tile)).sum::<usize>() as f64,
    }
}

fn attend_us(simd: Simd, kv: &KvView, operands: &mut Operands, plan: &Plan) -> Result<f64, Error> {
    let Operands { tiles, queries, output } = operands;
    time_us(|| attend(simd, queries, kv, tiles.range(), plan, output))
}

fn time_us(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Values in [-1, 1): shares are near uniform, so no work is saved or added by chance.
fn random(len: usize) -> Vec<f32> {
    (0..len).map(|n| ((n.wrapping_mul(2654435761) >> 9) % 2048) as f32 / 1024.0 - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wide limits: the machine may be busy with other tests.
    #[test]
    fn terms_are_those_of_a_machine() {
        let costs = calibrate(Simd::detect(), 64).unwrap();
        println!("{costs:?}");
        let step_us = costs.step_us.unwrap();
        assert!((0.05..1000.0).contains(&step_us), "{step_us}");
        assert!((0.3..10.0).contains(&costs.gathered_step), "{costs:?}");
        assert!(costs.score_block > 0.0 && costs.score_block < 1.0, "{costs:?}");
        assert!(costs.probe_block > 0.0 && costs.probe_block < 20.0, "{costs:?}");
        assert_eq!(costs.margin, CostModel::default().margin);
    }

    #[test]
    fn refuses_a_head_that_cannot_be() {
        assert_eq!(calibrate(Simd::detect(), 63), Err(Error::HeadDim(63)));
    }
}
