//! Mixtures of experts: the rows of each expert are brought together, multiplied expert by expert, and added to the tokens
//! that they are of.
//!
//! How many rows each expert has is read back once a layer. One token alone, whose experts are in bf16, takes kernels that
//! find them on the device, so that decoding can be recorded.

use super::gated_rows::GatedRows;
use super::memory::mixture_rows;
use super::products::{OperandValues, Products};
use super::{Gpu, Matrix, Operand, Work};
use crate::config::{Experts as ExpertsConfig, ModelConfig};
use crate::ops::{GatedMlp, OpsError};
use cuda::Error;
use cuda::device::{Buffer, Device};
use cuda::expert_matvec::{ExpertMatrices, ExpertMatvec};
use cuda::expert_rows::{ExpertRows, ROW_GROUP, SortedRows};
use cuda::gate::Activation;
use cuda::route::{Choices, Route, Router};
use cuda::rows::Rows;
use half::bf16;
use std::ops::Range;

/// The experts of a layer.
pub struct Experts {
    mlps: Vec<GatedMlp<Matrix>>,
    /// For one token, where all are in bf16.
    of_one: Option<GatedMlp<ExpertMatrices>>,
}

/// What routes and sorts.
pub(super) struct ExpertKernels {
    route: Route,
    rows: ExpertRows,
    matvec: ExpertMatvec,
}

/// Room for the mixture of a chunk.
pub(super) struct Mixture {
    choices: Choices,
    sorted: SortedRows,
    /// Some of the sorted rows, what is between their products, and what the experts make of them.
    gathered: OperandValues,
    between: GatedRows,
    products: Buffer<f32>,
}

impl Experts {
    pub(super) fn new(device: &Device, mlps: Vec<GatedMlp<Matrix>>) -> Result<Self, OpsError> {
        let matrices = |of: fn(&GatedMlp<Matrix>) -> &Matrix| {
            let plain: Option<Vec<_>> = mlps.iter().map(|mlp| of(mlp).plain().cloned()).collect();
            plain.map(|plain| ExpertMatrices::new(device, plain, of(&mlps[0]).cols())).transpose()
        };
        let gate_up = matrices(|mlp| &mlp.gate_up)?;
        let down = matrices(|mlp| &mlp.down)?;
        Ok(Self { of_one: gate_up.zip(down).map(|(gate_up, down)| GatedMlp { gate_up, down }), mlps })
    }

    /// Rows from which on a mixture waits for the device: it reads how many each expert has.
    pub(super) fn wait_from(&self) -> usize {
        if self.of_one.is_some() { 2 } else { 1 }
    }
}

impl ExpertKernels {
    pub(super) fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { route: Route::new(device)?, rows: ExpertRows::new(device)?, matvec: ExpertMatvec::new(device)? })
    }
}

impl Mixture {
    pub(super) fn new(
        device: &Device,
        products: &Products,
        config: &ModelConfig,
        experts: &ExpertsConfig,
        len: usize,
    ) -> Result<Self, Error> {
        let rows = mixture_rows(experts, len);
        Ok(Self {
            choices: Choices::room(device, len, experts.per_token)?,
            sorted: SortedRows::room(device, len * experts.per_token, experts.count)?,
            gathered: products.operand(rows, config.hidden_size)?,
            between: GatedRows::new(device, products, rows, rows, experts.intermediate_size)?,
            products: device.room(rows * config.hidden_size)?,
        })
    }
}

impl Gpu {
    /// Chooses the experts of each token.
    pub(super) fn choose_experts(&self, router: Router, x: &Buffer<f32>, room: &mut Mixture) -> Result<(), OpsError> {
        let Mixture { choices, .. } = room;
        self.mark(Work::Rest, choices.len() / choices.per_token())?;
        Ok(self.experts.route.launch(x, router, choices)?)
    }

    /// `out += sum of share * expert(x)` over the experts that were chosen.
    pub(super) fn mix_experts(
        &self,
        activation: Activation,
        experts: &Experts,
        x: &Operand,
        room: &mut Mixture,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        match (&experts.of_one, &x.values) {
            (Some(of_one), OperandValues::Bf16(row)) if x.len() == 1 => {
                self.mix_for_one(activation, of_one, row, room, out)
            }
            _ => self.mix_by_expert(activation, &experts.mlps, x, room, out),
        }
    }

    fn mix_for_one(
        &self,
        activation: Activation,
        GatedMlp { gate_up, down }: &GatedMlp<ExpertMatrices>,
        x: &Buffer<bf16>,
        Mixture { choices, between: GatedRows { gate_up: both, gated, intermediate_size: inner }, .. }: &mut Mixture,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        let (rows, of_both) = (choices.len(), 0..choices.len() * 2 * *inner);
        self.experts.matvec.multiply(gate_up, choices, x.into(), both.view_mut(of_both.clone()))?;
        self.gate.launch(activation, both.view(of_both), *inner, gated.rows_mut(0..rows, *inner))?;
        let Rows::Bf16(gated) = gated.rows(0..rows, *inner) else {
            unreachable!("experts in bf16 have operands in bf16");
        };
        Ok(self.experts.matvec.multiply_add(down, choices, gated, out)?)
    }

    fn mix_by_expert(
        &self,
        activation: Activation,
        experts: &[GatedMlp<Matrix>],
        x: &Operand,
        Mixture { choices, sorted, gathered, between, products }: &mut Mixture,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        let GatedRows { gate_up: both, gated, intermediate_size: inner } = between;
        let (hidden, inner, len) = (x.features, *inner, x.len());
        self.mark(Work::Rest, len)?;
        self.experts.rows.sort(choices, sorted)?;
        let of_experts = sorted.read()?;
        let end = of_experts.iter().map(|rows| rows.end.next_multiple_of(ROW_GROUP)).max().unwrap_or(0);
        let at_once = products.len() / hidden;
        for first in (0..end).step_by(at_once) {
            let wave = first..(first + at_once).min(end);
            let (rows, of_both) = (wave.len(), 0..wave.len() * 2 * inner);
            let pieces = || experts.iter().zip(&of_experts).filter_map(|(mlp, rows)| Some((mlp, piece(rows, &wave)?)));
            let to = gathered.rows_mut(0..rows, hidden);
            self.experts.rows.gather(x.values.all(), choices, sorted, wave.clone(), to)?;
            self.mark(Work::Products, len)?;
            for (GatedMlp { gate_up, .. }, rows) in pieces() {
                let to = both.view_mut(rows.start * 2 * inner..rows.end * 2 * inner);
                self.products.multiply(gate_up, gathered.rows(rows, hidden), to)?;
            }
            self.mark(Work::Rest, len)?;
            self.gate.launch(activation, both.view(of_both), inner, gated.rows_mut(0..rows, inner))?;
            self.mark(Work::Products, len)?;
            for (GatedMlp { down, .. }, rows) in pieces() {
                let to = products.view_mut(rows.start * hidden..rows.end * hidden);
                self.products.multiply_wide(down, gated.rows(rows, inner), to)?;
            }
            self.mark(Work::Rest, len)?;
            self.experts.rows.add(products.view(0..rows * hidden), choices, sorted, wave, out)?;
        }
        Ok(())
    }
}

/// Which rows of a wave an expert multiplies, counted from the wave's first. One row takes kernels of its own; more are
/// filled up with those of nobody, so that there are few numbers of rows to plan products for.
fn piece(rows: &Range<usize>, wave: &Range<usize>) -> Option<Range<usize>> {
    let (start, end) = (rows.start.max(wave.start), rows.end.min(wave.end));
    let len = end.checked_sub(start).filter(|len| *len > 0)?;
    let len = if len == 1 { 1 } else { len.next_multiple_of(ROW_GROUP) };
    Some(start - wave.start..start - wave.start + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_cut_experts_into_pieces() {
        let wave = 32..64;
        assert_eq!(piece(&(0..20), &wave), None);
        assert_eq!(piece(&(64..70), &wave), None);
        assert_eq!(piece(&(48..48), &wave), None);
        assert_eq!(piece(&(16..33), &wave), Some(0..1));
        assert_eq!(piece(&(16..35), &wave), Some(0..16));
        assert_eq!(piece(&(48..49), &wave), Some(16..17));
        assert_eq!(piece(&(48..50), &wave), Some(16..32));
        assert_eq!(piece(&(0..100), &wave), Some(0..32));
    }
}
