//! Mixtures of experts: the rows of each expert are brought together, multiplied, and added to where they came from.
//!
//! Experts run in waves whose rows fill no more room than the chunk itself; those of a wave run side by side. Each expert's weights are
//! read once a chunk, and those of an expert that no token takes are not read.

use super::products::Arithmetic;
use super::router::{self, Choice};
use super::{Matrix, Operand, Tokens};
use crate::config::{Activation, Experts, ModelConfig};
use crate::ops::{GatedMlp, OpsError, Together};
use attention::Aligned;
use attention::simd::{LANES, Simd, packed_len};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Room for the mixture of experts of a chunk.
pub(super) struct Mixture {
    per_token: usize,
    intermediate_size: usize,
    logits: Aligned<f32>,
    /// Those of a token side by side.
    choices: Vec<Choice>,
    /// The inputs of a wave, what is between its products, and its outputs, in panels.
    gathered: Aligned<bf16>,
    gated: Aligned<bf16>,
    products: Aligned<f32>,
}

/// Panels of a wave at least, where there are as many: enough experts side by side for many threads.
const LEAST_PANELS: usize = 64;
/// Features that are added for all tokens before the next: their lines of the cache hold sixteen rows.
const FEATURES_AT_ONCE: usize = 64;

/// Rows of the chunk by expert. Each expert's begin with a panel.
struct Rows {
    /// Choices, those of one expert side by side and in order.
    sorted: Vec<u32>,
    /// Where those of each expert begin, and where the last ends.
    starts: Vec<usize>,
    /// Row of each choice.
    of_choice: Vec<u32>,
}

/// An expert of a wave.
struct Job<'a> {
    expert: usize,
    choices: &'a [u32],
    gathered: &'a mut [bf16],
    gated: &'a mut [bf16],
    products: &'a mut [f32],
}

fn wave_panels(experts: &Experts, together: Together) -> usize {
    match together {
        Together::Chunk(len) => len.div_ceil(LANES).max((len * experts.per_token).min(LEAST_PANELS)),
        // All of them in one: what experts make of a row is added in the order in which it is added to one row alone.
        Together::Step(rows) => rows * experts.per_token,
    }
}

impl Mixture {
    pub(super) fn new(config: &ModelConfig, experts: &Experts, together: Together) -> Result<Self, OpsError> {
        let len = together.rows();
        let (panels, hidden, inner) = (wave_panels(experts, together), config.hidden_size, experts.intermediate_size);
        Ok(Self {
            per_token: experts.per_token,
            intermediate_size: inner,
            logits: Aligned::try_zeroed("the router", len.div_ceil(LANES) * experts.count * LANES)?,
            choices: vec![Choice::default(); len * experts.per_token],
            gathered: Aligned::try_zeroed("inputs of experts", panels * packed_len(hidden))?,
            gated: Aligned::try_zeroed("activations of experts", panels * packed_len(inner))?,
            products: Aligned::try_zeroed("outputs of experts", panels * Tokens::stride_of(hidden))?,
        })
    }

    /// Bytes for a chunk of `len` tokens.
    pub(super) fn bytes(config: &ModelConfig, experts: &Experts, len: usize) -> usize {
        let (hidden, inner) = (config.hidden_size, experts.intermediate_size);
        let of_panel = 2 * (packed_len(hidden) + packed_len(inner)) + 4 * Tokens::stride_of(hidden);
        let of_choice = size_of::<Choice>() + 2 * size_of::<u32>();
        let logits = 4 * len.next_multiple_of(LANES) * experts.count;
        wave_panels(experts, Together::Chunk(len)) * of_panel + len * experts.per_token * of_choice + logits
    }

    pub(super) fn choose(&mut self, simd: Simd, experts: &Experts, router: &[f32], x: &Tokens, eps: f32) {
        router::choose(simd, experts, router, x, eps, &mut self.logits, &mut self.choices);
    }

    /// Adds what the chosen experts make of `x`.
    pub(super) fn mix(
        &mut self,
        how: Arithmetic,
        activation: Activation,
        experts: &[GatedMlp<Arc<Matrix>>],
        x: &Operand,
        out: &mut Tokens,
    ) -> Result<(), OpsError> {
        assert!(x.len == out.len && x.features == out.features && self.choices.len() == x.len * self.per_token);
        let rows = Rows::of(&self.choices, experts.len());
        let (per_token, inner, stride) = (self.per_token, self.intermediate_size, out.stride());
        let most = self.products.len() / stride;
        let (mut expert, mut first_panel) = (0, 0);
        while expert < experts.len() {
            let mut jobs = Vec::new();
            let (mut gathered, mut gated, mut products) =
                (&mut self.gathered[..], &mut self.gated[..], &mut self.products[..]);
            let mut panels = 0;
            while expert < experts.len() && panels + rows.panels(expert) <= most {
                let count = rows.panels(expert);
                if count > 0 {
                    jobs.push(Job {
                        expert,
                        choices: rows.of_expert(expert),
                        gathered: split(&mut gathered, count * x.stride()),
                        gated: split(&mut gated, count * packed_len(inner)),
                        products: split(&mut products, count * stride),
                    });
                }
                (panels, expert) = (panels + count, expert + 1);
            }
            jobs.into_par_iter().with_max_len(1).try_for_each(|job| {
                gather(x, job.choices, per_token, job.gathered);
                let GatedMlp { gate_up, down } = &experts[job.expert];
                let len = job.choices.len();
                let by_row = x.by_row || len == 1;
                let x = Operand { features: x.features, len, by_row, panels: &*job.gathered };
                let mut gated = Operand { features: inner, len, by_row, panels: job.gated };
                gate_up.multiply_gated(how, activation, &x, &mut gated)?;
                let mut products = Tokens { features: x.features, len, panels: job.products };
                down.multiply(how, &gated, &mut products, false);
                Ok::<_, OpsError>(())
            })?;
            let wave = first_panel * LANES..(first_panel + panels) * LANES;
            scatter(&self.products, wave, &rows.of_choice, &self.choices, per_token, out);
            first_panel += panels;
        }
        Ok(())
    }
}

/// Takes the first `len` elements away.
fn split<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    rest.split_off_mut(..len).expect("a wave has room for its experts")
}

impl Rows {
    fn of(choices: &[Choice], experts: usize) -> Self {
        let mut starts = vec![0usize; experts + 1];
        choices.iter().for_each(|choice| starts[choice.expert as usize + 1] += 1);
        let mut first_rows = Vec::with_capacity(experts);
        let mut rows: usize = 0;
        for expert in 0..experts {
            first_rows.push(rows);
            rows += starts[expert + 1].next_multiple_of(LANES);
            starts[expert + 1] += starts[expert];
        }
        let (mut ends, mut sorted, mut of_choice) =
            (starts.clone(), vec![0; choices.len()], Vec::with_capacity(choices.len()));
        for (n, choice) in choices.iter().enumerate() {
            let expert = choice.expert as usize;
            of_choice.push((first_rows[expert] + ends[expert] - starts[expert]) as u32);
            sorted[ends[expert]] = n as u32;
            ends[expert] += 1;
        }
        Self { sorted, starts, of_choice }
    }

    fn of_expert(&self, expert: usize) -> &[u32] {
        &self.sorted[self.starts[expert]..self.starts[expert + 1]]
    }

    fn panels(&self, expert: usize) -> usize {
        self.of_expert(expert).len().div_ceil(LANES)
    }
}

/// Packs the tokens of some choices as panels.
fn gather(x: &Operand, choices: &[u32], per_token: usize, out: &mut [bf16]) {
    let stride = x.stride() / 2;
    // A pair of features is packed as one number.
    let (from, to): (&[u32], &mut [u32]) = (bytemuck::cast_slice(&x.panels), bytemuck::cast_slice_mut(out));
    for (panel, choices) in to.chunks_exact_mut(stride).zip(choices.chunks(LANES)) {
        for (lane, choice) in choices.iter().enumerate() {
            let token = *choice as usize / per_token;
            let from = from[token / LANES * stride..][..stride].chunks_exact(LANES);
            for (to, from) in panel.chunks_exact_mut(LANES).zip(from) {
                to[lane] = from[token % LANES];
            }
        }
    }
}

/// Adds the rows of a wave, each times its share, to the tokens they are of.
fn scatter(
    products: &[f32],
    wave: Range<usize>,
    row_of_choice: &[u32],
    choices: &[Choice],
    per_token: usize,
    out: &mut Tokens,
) {
    let stride = out.stride();
    let group = out.len.div_ceil(LANES).div_ceil(rayon::current_num_threads());
    let of_group = group * LANES * per_token;
    let groups = out.panels.par_chunks_mut(group * stride).zip(row_of_choice.par_chunks(of_group));
    groups.zip(choices.par_chunks(of_group)).for_each(|((out, rows), choices)| {
        // Of each row: where it lies, where it goes, its share.
        let at = |row: usize| row / LANES * stride + row % LANES;
        let of_wave = rows.iter().zip(choices).enumerate().filter(|(_, (row, _))| wave.contains(&(**row as usize)));
        let adds: Vec<(usize, usize, f32)> = of_wave
            .map(|(n, (row, choice))| (at(*row as usize - wave.start), at(n / per_token), choice.share))
            .collect();
        for first in (0..stride).step_by(FEATURES_AT_ONCE * LANES) {
            let len = (FEATURES_AT_ONCE * LANES).min(stride - first);
            for (from, to, share) in &adds {
                // From the row's lane of the first feature to its lane of the last.
                let end = len - LANES + 1;
                let from = products[first + from..][..end].iter().step_by(LANES);
                let to = out[first + to..][..end].iter_mut().step_by(LANES);
                to.zip(from).for_each(|(to, from)| *to += share * from);
            }
        }
    });
}

#[cfg(test)]
mod tests;
