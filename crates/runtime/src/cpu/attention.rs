//! The attention layer: bias, norms and rotation of the heads; store, plan, attend.

use super::{Operand, Tokens, elementwise};
use crate::config::RopePairing;
use crate::layer_pages::LayerPages;
use crate::ops::{AttentionReport, AttentionSpec, HeadParameters, OpsError, PredictedCost, Together};
use crate::policy::{AttentionPolicy, LayerReport, PrefillAttention};
use crate::receipt::LayerDraws;
use crate::sequence::Sequence;
use attention::attend::{Output, Stretches, attend};
use attention::bound;
use attention::kv::{KvPages, KvView};
use attention::plan::Plan;
use attention::planner::{Planned, Planner, Scene};
use attention::queries::Queries;
use attention::receipt::Drawn;
use attention::shape::QueryRange;
use attention::simd::{LANES, Simd, pack};
use attention::{BLOCK_M, Error};
use rayon::prelude::*;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// cos and sin, f32 `[panel][rotary_dim / 2][16]`, of the positions of a chunk.
pub struct Rotations {
    stride: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotations {
    /// By these frequencies, and with this factor of cos and sin, at these positions.
    pub(super) fn new((frequency, factor): (Vec<f64>, f64), positions: &[usize]) -> Self {
        let stride = frequency.len() * LANES;
        let mut cos = vec![0.0; positions.len().div_ceil(LANES) * stride];
        let mut sin = cos.clone();
        let panels = cos.par_chunks_mut(stride).zip(sin.par_chunks_mut(stride)).zip(positions.par_chunks(LANES));
        panels.for_each(|((cos, sin), positions)| {
            for (i, frequency) in frequency.iter().enumerate() {
                for (lane, position) in positions.iter().enumerate() {
                    let angle = *position as f64 * frequency;
                    cos[i * LANES + lane] = (factor * angle.cos()) as f32;
                    sin[i * LANES + lane] = (factor * angle.sin()) as f32;
                }
            }
        });
        Self { stride, cos, sin }
    }
}

pub(super) fn run(
    simd: Simd,
    spec: AttentionSpec,
    qkv: &Tokens,
    pages: &LayerPages<KvPages>,
    sequence: &Sequence,
    out: &mut Operand,
) -> Result<AttentionReport, Error> {
    let others_wait = spec.prefill.pause();
    let mut locked = pages.lock();
    store(spec, qkv, &mut locked, sequence)?;
    // One query takes no time, and is attended as in decoding.
    let pages = if others_wait && qkv.len > 1 { Held::Between(pages, locked) } else { Held::Throughout(&locked) };
    attend_stored(simd, spec, qkv, pages, sequence, out)
}

/// The next token of each sequence: all keys and values are stored, then each row is attended as it is alone.
pub(super) fn step(
    simd: Simd,
    spec: AttentionSpec,
    qkv: &Tokens,
    pages: &mut KvPages,
    sequences: &[&Sequence],
    out: &mut Operand,
) -> Result<AttentionReport, OpsError> {
    let rows = (0..sequences.len()).map(|row| {
        let mut alone = Tokens::new(qkv.features, 1)?;
        alone.copy_row(0, qkv, row);
        Ok(alone)
    });
    let rows: Vec<Tokens> = rows.collect::<Result<_, OpsError>>()?;
    for (row, sequence) in rows.iter().zip(sequences) {
        store(spec, row, pages, sequence)?;
    }
    let pages = &*pages;
    let attended = rows.par_iter().zip(sequences).map(|(row, sequence)| {
        let mut alone = Operand::new(out.features, Together::Step(1))?;
        let report = attend_stored(simd, spec, row, Held::Throughout(pages), sequence, &mut alone)?;
        Ok::<_, OpsError>((report, alone))
    });
    let attended: Vec<_> = attended.collect::<Result<_, _>>()?;
    let mut sum = AttentionReport::default();
    for (row, (report, alone)) in attended.into_iter().enumerate() {
        sum += report;
        out.copy_row(row, &alone);
    }
    Ok(sum)
}

/// Stores keys and values behind those of the sequence.
fn store(spec: AttentionSpec, qkv: &Tokens, pages: &mut KvPages, sequence: &Sequence) -> Result<(), Error> {
    let (heads, stride) = (spec.heads, qkv.stride());
    let keys_at = heads.num_q_heads() * heads.head_dim() * LANES;
    let values_at = keys_at + heads.num_kv_heads() * heads.head_dim() * LANES;
    let (keys, values) = (&qkv.panels[keys_at..], &qkv.panels[values_at..]);
    pages.append_panels(sequence.table(), sequence.len(), qkv.len, keys, values, stride)
}

/// Pages that are read.
enum Held<'a> {
    /// Until all is done.
    Throughout(&'a KvPages),
    /// Let go of between stretches, since others wait for a step.
    Between(&'a LayerPages<KvPages>, MutexGuard<'a, KvPages>),
}

impl Held<'_> {
    fn view<'a>(&'a self, sequence: &'a Sequence, range: QueryRange) -> Result<KvView<'a>, Error> {
        let pages = match self {
            Held::Throughout(pages) => pages,
            Held::Between(_, locked) => &**locked,
        };
        pages.view(sequence.table(), range.kv_len())
    }
}

/// A stretch takes about as long as a token of a small model.
const STRETCH: Duration = Duration::from_millis(8);

/// Runs a plan, and lets others have a step after every stretch where the pages are let go of. What its own work took.
fn attend_in_stretches<'a>(
    simd: Simd,
    queries: &Queries,
    mut pages: Held<'a>,
    (sequence, range): (&Sequence, QueryRange),
    plan: &Plan,
    prefill: PrefillAttention,
    output: &mut Output,
) -> Result<(Held<'a>, Duration), Error> {
    let started = Instant::now();
    if let Held::Throughout(_) = pages {
        attend(simd, queries, &pages.view(sequence, range)?, range, plan, output)?;
        return Ok((pages, started.elapsed()));
    }
    let stretches = Stretches::new(simd, queries, &pages.view(sequence, range)?, range, plan)?;
    let mut own = started.elapsed();
    let least = 2 * rayon::current_num_threads();
    let (mut from, mut units) = (0, least);
    loop {
        let to = (from + units).min(stretches.units());
        let started = Instant::now();
        stretches.run(&pages.view(sequence, range)?, from..to, output)?;
        let took = started.elapsed();
        own += took;
        if to == stretches.units() {
            return Ok((pages, own));
        }
        // Units differ, neighbours little.
        units = (((to - from) as f64 * STRETCH.as_secs_f64() / took.as_secs_f64()) as usize).max(least);
        from = to;
        if let Held::Between(of, locked) = pages {
            drop(locked);
            prefill.pause();
            pages = Held::Between(of, of.lock());
        }
    }
}

/// Plans and attends queries whose keys and values are stored.
fn attend_stored(
    simd: Simd,
    spec: AttentionSpec,
    qkv: &Tokens,
    pages: Held,
    sequence: &Sequence,
    out: &mut Operand,
) -> Result<AttentionReport, Error> {
    let heads = spec.heads;
    let (d, len) = (heads.head_dim(), qkv.len);
    let range = QueryRange::new(len, sequence.len() + len)?;

    let mut queries = Queries::try_zeroed(heads, len)?;
    let scale = queries.scale();
    let panel_len = attention::simd::packed_len(d);
    let (stride, panels) = (qkv.stride(), len.div_ceil(LANES));
    queries.packed_mut().par_chunks_mut(panel_len).enumerate().for_each(|(at, packed)| {
        let (head, panel) = (at / panels, at % panels);
        pack(simd, &qkv.panels[panel * stride + head * d * LANES..][..d * LANES], scale, packed);
    });
    let started = Instant::now();
    let AttentionSpec { layer, last_rows, prefill, .. } = spec;
    let (tiles, planner) = (range.tiles(BLOCK_M)?, prefill.policy.planner());
    let view = pages.view(sequence, range)?;
    let scene = Scene { simd, layer, queries: &queries, kv: &view, tiles, last_rows };
    // A window that is as long as the keys hides none of them.
    let window = spec.window.filter(|window| *window < range.kv_len());
    let mut search_stages = None;
    let mut planned = match (window, prefill.policy) {
        (Some(window), _) => Planned::window(heads.num_q_heads(), window),
        (None, AttentionPolicy::Dense) => Planned::dense(heads.num_q_heads()),
        (None, AttentionPolicy::Search(search)) => {
            let (planned, times) = search.plan_timed(&scene)?;
            search_stages = Some(times);
            planned
        }
        (None, AttentionPolicy::Fixed(patterns)) => patterns.plan(&scene)?,
        (None, AttentionPolicy::Given(plans)) => plans.planned(layer, range)?,
        (None, AttentionPolicy::Planner(planner)) => planner.plan(&scene)?,
    };
    let search_time = started.elapsed();

    let mut output = Output::try_new(heads, len)?;
    let at = (sequence, range);
    let (pages, attend_time) = attend_in_stretches(simd, &queries, pages, at, &planned.plan, prefill, &mut output)?;
    let view = pages.view(sequence, range)?;
    let scene = Scene { simd, layer, queries: &queries, kv: &view, tiles, last_rows };
    let started = Instant::now();
    let bounds = match planner.and_then(|planner| planner.guarantee()) {
        Some(limit) => Some(bound::enforce(&scene, limit, &mut planned, &mut output)?),
        None => None,
    };
    let attend_time = attend_time + started.elapsed();

    let started = Instant::now();
    let drawn = prefill.receipt.map(|seed| Drawn::of(&scene, &planned.plan, seed)).transpose()?;
    let draws = drawn.map_or_else(LayerDraws::default, |drawn| LayerDraws::of_layer(layer, drawn, started.elapsed()));

    let width = heads.num_q_heads() * d;
    let operand_stride = out.stride();
    out.panels.par_chunks_mut(operand_stride).enumerate().for_each(|(panel, packed)| {
        let mut features = vec![0.0; width * LANES];
        for (head, features) in features.chunks_exact_mut(d * LANES).enumerate() {
            features.copy_from_slice(output.panel(head, panel));
        }
        pack(simd, &features, 1.0, packed);
    });

    let computed_pairs = planned.plan.heads.iter().map(|head| head.pairs(range)).sum();
    let of_head = window.map_or(range.causal_pairs(), |window| range.window_pairs(window));
    let causal_pairs = of_head * heads.num_q_heads() as u64;
    let recalled_pairs = planned.recall() * causal_pairs as f64;
    let dropped_pairs_at_most = bounds.map(|bounds| {
        let dropped: f64 = bounds.iter().map(|bound| bound.at_most).sum();
        dropped / bounds.len() as f64 * causal_pairs as f64
    });
    let predicted_cost = match (window, prefill.policy) {
        (None, AttentionPolicy::Search(search)) => Some(PredictedCost::of(search, &planned, tiles)),
        _ => None,
    };
    let search_ms = search_time.as_secs_f64() * 1e3;
    prefill.report(|| LayerReport { layer, tiles, planned, search_ms });
    Ok(AttentionReport {
        computed_pairs,
        causal_pairs,
        recalled_pairs,
        predicted_cost,
        dropped_pairs_at_most,
        draws,
        search_time,
        search_stages,
        attend_time,
    })
}

/// Adds biases to `qkv`, normalises and rotates Q and K, in place.
pub(super) fn prepare(
    simd: Simd,
    spec: AttentionSpec,
    parameters: &HeadParameters<Vec<f32>>,
    qkv: &mut Tokens,
    rotations: &Rotations,
) {
    let d = spec.heads.head_dim();
    let (q_heads, rotated) = (spec.heads.num_q_heads(), spec.heads.num_q_heads() + spec.heads.num_kv_heads());
    let adjacent = spec.rope_pairing == RopePairing::Adjacent;
    let stride = qkv.stride();
    let angles = rotations.cos.par_chunks(rotations.stride).zip(rotations.sin.par_chunks(rotations.stride));
    qkv.panels.par_chunks_mut(stride).zip(angles).for_each(|(panel, (cos, sin))| {
        if let Some(bias) = &parameters.bias {
            elementwise::add_bias(simd, bias, panel);
        }
        for (index, head) in panel.chunks_exact_mut(d * LANES).take(rotated).enumerate() {
            if let Some((q_norm, k_norm)) = &parameters.norms {
                let weight = if index < q_heads { q_norm } else { k_norm };
                elementwise::rms_norm_in_place(simd, weight, parameters.eps, head);
            }
            // What stands behind the rotated elements stays.
            elementwise::rotate(simd, &mut head[..2 * rotations.stride], cos, sin, adjacent);
        }
    });
}
