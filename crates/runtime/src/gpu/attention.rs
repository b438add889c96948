//! The attention of a chunk by a policy: dense, by what the search finds on the device, or by a planner on the host.

use super::{Chunk, Gpu, Operand, Work};
use crate::kv_cache::Sequence;
use crate::ops::{AttentionReport, AttentionSpec, OpsError};
use crate::policy::{AttentionPolicy, LayerReport};
use attention::kv::KvPages as HostPages;
use attention::planner::{Planned, Planner, Scene};
use attention::queries::Queries;
use attention::search::Search;
use attention::shape::{QueryRange, Tiles};
use attention::simd::Simd;
use cuda::kv::KvPages;
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
        out: &mut Operand,
    ) -> Result<AttentionReport, OpsError> {
        // One that is as long as the keys hides none of them.
        let window = spec.window.filter(|window| *window < range.kv_len());
        let tiles = match window {
            None => Some(range.tiles(self.attend.plan_block_m())?),
            Some(_) => None,
        };
        let causal = all_pairs(&spec, range);
        match (spec.prefill.policy, tiles) {
            (AttentionPolicy::Search(search), Some(tiles)) if !search.is_dense(tiles, spec.last_rows) => {
                self.attend_found(spec, search, tiles, chunk, pages, sequence, out)?;
                // What was computed is known when the device has done it.
                Ok(AttentionReport { causal_pairs: causal.causal_pairs, ..Default::default() })
            }
            (AttentionPolicy::Search(_) | AttentionPolicy::Dense, _) | (_, None) => {
                self.mark(Work::Attention, range.q_len())?;
                self.attend.launch(&chunk.q, pages, &chunk.batch, &mut out.values, None, window)?;
                if let (AttentionPolicy::Search(_), Some(tiles)) = (spec.prefill.policy, tiles) {
                    let planned = Planned::dense(spec.heads.num_q_heads());
                    spec.prefill.report(|| LayerReport { layer: spec.layer, tiles, planned, search_ms: 0.0 });
                }
                Ok(causal)
            }
            (policy, Some(tiles)) => {
                let planner = policy.planner().expect("dense was dealt with");
                let planned = self.attend_planned(spec, planner, tiles, chunk, pages, sequence, out)?;
                Ok(AttentionReport {
                    computed_pairs: planned.plan.heads.iter().map(|head| head.pairs(range)).sum(),
                    recalled_pairs: planned.recall() * causal.causal_pairs as f64,
                    ..causal
                })
            }
        }
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
        out: &mut Operand,
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
        self.mark(Work::Search, len)?;
        let started = Instant::now();
        on_device.run(search, spec.last_rows, q, pages, batch, room, &mut |_| Ok(()))?;
        if spec.prefill.observer.is_some() {
            let planned = room.planned(search)?;
            let search_ms = started.elapsed().as_secs_f64() * 1e3;
            spec.prefill.report(|| LayerReport { layer: spec.layer, tiles, planned, search_ms });
        }
        self.mark(Work::Attention, len)?;
        self.attend.launch_plan(q, pages, batch, room.plan(), &mut out.values, None)?;
        Ok(())
    }

    /// Copies queries, keys and values to the host for a planner there, and its plan back.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    fn attend_planned(
        &self,
        spec: AttentionSpec,
        planner: &dyn Planner,
        tiles: Tiles,
        chunk: &mut Chunk,
        pages: &mut KvPages,
        sequence: &Sequence,
        out: &mut Operand,
    ) -> Result<Planned, OpsError> {
        let AttentionSpec { heads, layer, last_rows, .. } = spec;
        let (simd, range) = (Simd::detect(), tiles.range());
        self.mark(Work::Search, range.q_len())?;
        let started = Instant::now();
        let rows: Vec<f32> = chunk.q.read()?.into_iter().map(f32::from).collect();
        let queries = Queries::from_rows(simd, heads, &rows)?;
        let (k, v) = pages.read_rows(sequence.table(), range.kv_len())?;
        let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
        let mut host_pages = HostPages::new(heads, table.len());
        host_pages.append_rows(&table, 0, &k, &v)?;
        let kv = host_pages.view(&table, range.kv_len())?;
        let planned = planner.plan(&Scene { simd, layer, queries: &queries, kv: &kv, tiles, last_rows })?;
        let on_device = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = on_device.upload(&[&planned.plan], pages, &chunk.batch)?;
        let search_ms = started.elapsed().as_secs_f64() * 1e3;
        spec.prefill.report(|| LayerReport { layer, tiles, planned: planned.clone(), search_ms });
        self.mark(Work::Attention, range.q_len())?;
        self.attend.launch_plan(&chunk.q, pages, &chunk.batch, &plan, &mut out.values, None)?;
        Ok(planned)
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
