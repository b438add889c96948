//! MLPs, some rows at a time.

use super::experts::Mixture;
use super::gated_rows::GatedRows;
use super::products::Products;
use super::{Gpu, Matrix, Operand, Work};
use crate::config::ModelConfig;
use crate::ops::{GatedMlp, OpsError};
use cuda::device::{Buffer, Device};
use cuda::gate::Activation;

/// Room for the MLPs of a chunk.
pub struct MlpRoom {
    /// Of layers that have one MLP for all tokens.
    dense: Option<GatedRows>,
    /// Of layers that have many.
    mixture: Option<Mixture>,
}

impl MlpRoom {
    /// Of layers with experts, which only models made with them have.
    pub(super) fn of_experts(&mut self) -> &mut Mixture {
        self.mixture.as_mut().expect("made for a config that has experts")
    }

    /// `rows`: of the MLP of all tokens, at a time.
    pub(super) fn new(
        device: &Device,
        products: &Products,
        config: &ModelConfig,
        len: usize,
        rows: usize,
    ) -> Result<Self, OpsError> {
        let dense = match config.dense_mlp_size() {
            0 => None,
            size => Some(GatedRows::new(device, products, len.min(rows), size)?),
        };
        let mixture = config.experts.as_ref().map(|experts| Mixture::new(device, products, config, experts, len));
        Ok(Self { dense, mixture: mixture.transpose()? })
    }
}

impl Gpu {
    /// `out += mlp(x)`.
    pub(super) fn dense_mlp(
        &self,
        activation: Activation,
        GatedMlp { gate_up, down }: &GatedMlp<Matrix>,
        x: &Operand,
        room: &mut MlpRoom,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        let GatedRows { gate_up: both, gated, intermediate_size: inner } =
            room.dense.as_mut().expect("made for a config that has such layers");
        let (hidden, len, inner) = (x.features, x.len(), *inner);
        let most = both.len() / (2 * inner);
        for start in (0..len).step_by(most) {
            let end = (start + most).min(len);
            let rows = end - start;
            let of_both = 0..rows * 2 * inner;

            self.mark(Work::Products, len)?;
            self.products.multiply(gate_up, x.values.rows(start..end, hidden), both.view_mut(of_both.clone()))?;
            self.mark(Work::Rest, len)?;
            self.gate.launch(activation, both.view(of_both), inner, gated.rows_mut(0..rows, inner))?;
            self.mark(Work::Products, len)?;
            let to = out.view_mut(start * hidden..end * hidden);
            self.products.multiply_add(down, gated.rows(0..rows, inner), to)?;
        }
        Ok(())
    }
}
