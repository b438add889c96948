//! Room between the two products of an MLP.

use super::products::{OperandValues, Products};
use cuda::Error;
use cuda::device::{Buffer, Device};
use half::bf16;

/// What is between the products of some rows.
pub(super) struct GatedRows {
    /// `[row][2][intermediate_size]`.
    pub(super) gate_up: Buffer<bf16>,
    /// `[row][intermediate_size]`.
    pub(super) gated: OperandValues,
    pub(super) intermediate_size: usize,
}

impl GatedRows {
    pub(super) fn new(
        device: &Device,
        products: &Products,
        rows: usize,
        intermediate_size: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            gate_up: device.room(rows * 2 * intermediate_size)?,
            gated: products.operand(rows, intermediate_size)?,
            intermediate_size,
        })
    }
}
