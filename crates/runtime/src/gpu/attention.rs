//! The attention of a chunk by a policy: dense, by what the search finds on the device, or by a planner on the host.

use super::{Chunk, Gpu, Work};
use crate::ops::{AttentionReport, AttentionSpec, OpsError};
use crate::policy::{AttentionPolicy, LayerReport};
use crate::sequence::Sequence;
use attention::kv::KvPages as HostPages;
use attention::planner::{Planned, Planner, Scene};
use attention::queries::Queries;
use attention::search::Search;
use attention::shape::{QueryRange, Tiles};
use attention::simd::Simd;
use cuda::device::Buffer;
use cuda::kv::KvPages;
use half::bf16;
use std::sync::PoisonError;
use std::time::Instant;

impl Gpu {
    /// Attends the rotated queries of a chunk to the keys and values that are stored.
    pub(super) fn attend(
        &self,
        spec: AttentionSpec,
        range: QueryRange,
        chunk: &mut Chunk,
        pages: &mut KvPages,
        sequence: &Sequence,
        out: &mut Buffer<bf16>,
    ) -> Result<AttentionReport, OpsError> {
        if range.q_len() == 1 {
            let mut decode = self.decode_attention.lock().unwrap_or_else(PoisonError::into_inner);
            decode.launch(&chunk.q, pages, &chunk.batch, out, spec.window)?;
            self.report_all_pairs(&spec, range)?;
            return Ok(all_pairs(&spec, range));
        }
        // One that is as long as the keys hides none of them.
        let window = spec.window.filter(|window| *window < range.kv_len());
        let tiles = range.tiles(self.attend.plan_block_m())?;
        let causal = all_pairs(&spec, range);
        let policy = if window.is_none() { spec.prefill.policy } else { AttentionPolicy::Dense };
        let (planned, search_ms) = match policy {
            AttentionPolicy::Search(search) if !search.is_dense(tiles, spec.last_rows) => {
                self.attend_found(spec, search, tiles, chunk, pages, sequence, out)?;
                // What was computed is known when the device has done it.
                return Ok(AttentionReport { causal_pairs: causal.causal_pairs, ..Default::default() });
            }
            AttentionPolicy::Search(_) | AttentionPolicy::Dense => {
                self.mark(Work::Attention, range.q_len())?;
                self.attend.launch(&chunk.q, pages, &chunk.batch, out, None, window)?;
                self.report_all_pairs(&spec, range)?;
                return Ok(causal);
            }
            AttentionPolicy::Given(plans) => (plans.planned(spec.layer, range)?, 0.0),
            AttentionPolicy::Fixed(patterns) => self.plan_on_host(spec, patterns, tiles, chunk, pages, sequence)?,
            AttentionPolicy::Planner(planner) => self.plan_on_host(spec, planner, tiles, chunk, pages, sequence)?,
        };
        let plan = {
            let on_device = self.search.lock().unwrap_or_else(PoisonError::into_inner);
            on_device.upload(&[&planned.plan], pages, &chunk.batch)?
        };
        spec.prefill.report(|| LayerReport { layer: spec.layer, tiles, planned: planned.clone(), search_ms });
        self.mark(Work::Attention, range.q_len())?;
        self.attend.launch_plan(&chunk.q, pages, &chunk.batch, &plan, out, None)?;
        Ok(AttentionReport {
            computed_pairs: planned.plan.heads.iter().map(|head| head.pairs(range)).sum(),
            recalled_pairs: planned.recall() * causal.causal_pairs as f64,
            ..causal
        })
    }

    /// Attends the rotated query of each sequence of a step to all of its keys that the layer sees.
    pub(super) fn attend_step(
        &self,
        spec: AttentionSpec,
        chunk: &mut Chunk,
        pages: &mut KvPages,
        out: &mut Buffer<bf16>,
    ) -> Result<AttentionReport, OpsError> {
        let Chunk { q, batch, decode_attention, .. } = chunk;
        let decode = decode_attention.as_mut().expect("made with the room for steps");
        decode.launch(q, pages, batch, out, spec.window)?;
        let mut report = AttentionReport::default();
        batch.ranges().iter().for_each(|range| report += all_pairs(&spec, *range));
        Ok(report)
    }

    /// Tells the observer of a layer that computed every pair that it may.
    pub(super) fn report_all_pairs(&self, spec: &AttentionSpec, range: QueryRange) -> Result<(), OpsError> {
        let (layer, num_q_heads) = (spec.layer, spec.heads.num_q_heads());
        let tiles = range.tiles(self.attend.plan_block_m())?;
        spec.prefill.report(|| {
            let window = spec.window.filter(|window| *window < range.kv_len());
            let planned =
                window.map_or_else(|| Planned::dense(num_q_heads), |window| Planned::window(num_q_heads, window));
            LayerReport { layer, tiles, planned, search_ms: 0.0 }
        });
        Ok(())
    }

    /// Searches and attends without waiting for either, unless somebody wants to hear of it.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    fn attend_found(
        &self,
        spec: AttentionSpec,
        search: &Search,
        tiles: Tiles,
        chunk: &mut Chunk,
        pages: &mut KvPages,
        sequence: &Sequence,
        out: &mut Buffer<bf16>,
    ) -> Result<(), OpsError> {
        let Chunk { batch, q, search: room, .. } = chunk;
        let len = tiles.range().q_len();
        let on_device = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        if room.is_none() {
            // Later chunks of this length have more keys, up to those of the whole prompt.
            let kv_len = sequence.prompt_len().max(tiles.range().kv_len());
            *room = Some(on_device.room(&self.device, QueryRange::new(len, kv_len)?.tiles(tiles.block_m())?)?);
        }
        let room = room.as_mut().expect("just made");
        let heard = spec.prefill.observer.is_some();
        if heard {
            // What was asked for before is no part of the search.
            self.device.synchronize()?;
        }
        let started = Instant::now();
        self.mark(Work::Search(None), len)?;
        on_device.run(
            search,
            search.rows_that_see_all(spec.last_rows),
            q,
            pages,
            batch,
            room,
            self.profile.then_some(&mut |stage| self.mark(Work::Search(Some(stage)), len)),
        )?;
        if heard {
            // Nor is the device's wait for the host, which reads the plan.
            self.mark(Work::Rest, len)?;
            let planned = room.planned(search)?;
            let search_ms = started.elapsed().as_secs_f64() * 1e3;
            spec.prefill.report(|| LayerReport { layer: spec.layer, tiles, planned, search_ms });
        }
        self.mark(Work::Attention, len)?;
        self.attend.launch_plan(q, pages, batch, room.plan(), out, None)?;
        Ok(())
    }

    /// Copies queries, keys and values to the host for a planner there. Returns its plan, and the milliseconds all of that took.
    fn plan_on_host(
        &self,
        spec: AttentionSpec,
        planner: &dyn Planner,
        tiles: Tiles,
        chunk: &Chunk,
        pages: &KvPages,
        sequence: &Sequence,
    ) -> Result<(Planned, f64), OpsError> {
        let AttentionSpec { heads, layer, last_rows, .. } = spec;
        let (simd, range) = (Simd::detect(), tiles.range());
        if spec.prefill.observer.is_some() {
            self.device.synchronize()?;
        }
        self.mark(Work::Search(None), range.q_len())?;
        let started = Instant::now();
        let rows: Vec<f32> = chunk.q.read()?.into_iter().map(f32::from).collect();
        let queries = Queries::from_rows(simd, heads, &rows)?;
        let (k, v) = pages.read_rows(sequence.table(), range.kv_len())?;
        let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
        let mut host_pages = HostPages::new(heads, table.len());
        host_pages.append_rows(&table, 0, &k, &v)?;
        let kv = host_pages.view(&table, range.kv_len())?;
        let planned = planner.plan(&Scene { simd, layer, queries: &queries, kv: &kv, tiles, last_rows })?;
        Ok((planned, started.elapsed().as_secs_f64() * 1e3))
    }
}

/// What a layer did that computed every pair that it may.
pub(super) fn all_pairs(spec: &AttentionSpec, range: QueryRange) -> AttentionReport {
    let of_head = spec.window.map_or_else(|| range.causal_pairs(), |window| range.window_pairs(window));
    let causal_pairs = of_head * spec.heads.num_q_heads() as u64;
    AttentionReport {
        computed_pairs: causal_pairs,
        causal_pairs,
        recalled_pairs: causal_pairs as f64,
        ..Default::default()
    }
}
