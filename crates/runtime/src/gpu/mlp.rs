//! MLPs, some rows at a time.

use super::experts::Mixture;
use super::gated_rows::GatedRows;
use super::memory::{Activations, ROWS_APART};
use super::products::Products;
use super::{Gpu, Matrix, Operand, Work};
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

    /// For chunks of `len` tokens.
    pub(super) fn new(
        device: &Device,
        products: &Products,
        activations: &Activations,
        len: usize,
    ) -> Result<Self, OpsError> {
        let config = activations.config;
        let dense = match config.dense_mlp_size() {
            0 => None,
            size => {
                let (rows, apart) = (len.min(activations.mlp_rows()), len.min(activations.rows_apart()));
                Some(GatedRows::new(device, products, rows, apart, size)?)
            }
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
        let most = gated.all().len() / inner;
        for start in (0..len).step_by(most) {
            let end = (start + most).min(len);
            let rows = end - start;
            let (x, to) = (x.values.rows(start..end, hidden), gated.rows_mut(0..rows, inner));

            self.mark(Work::Products, len)?;
            match &self.gated_gemm {
                Some(gated_gemm) if rows > ROWS_APART => {
                    self.products.multiply_gated(gated_gemm, activation, gate_up, x, to)?;
                }
                _ => {
                    let of_both = 0..rows * 2 * inner;
                    self.products.multiply(gate_up, x, both.view_mut(of_both.clone()))?;
                    self.mark(Work::Rest, len)?;
                    self.gate.launch(activation, both.view(of_both), inner, to)?;
                    self.mark(Work::Products, len)?;
                }
            }
            let to = out.view_mut(start * hidden..end * hidden);
            self.products.multiply_add(down, gated.rows(0..rows, inner), to)?;
        }
        Ok(())
    }
}
