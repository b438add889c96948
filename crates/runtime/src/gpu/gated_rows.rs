//! Room between the two products of an MLP.

use super::products::{OperandValues, Products};
use cuda::Error;
use cuda::device::{Buffer, Device};
use half::bf16;

/// What is between the products of some rows.
pub(super) struct GatedRows {
    /// `[row][2][intermediate_size]`, of rows whose gate and up come apart.
    pub(super) gate_up: Buffer<bf16>,
    /// `[row][intermediate_size]`.
    pub(super) gated: OperandValues,
    pub(super) intermediate_size: usize,
}

impl GatedRows {
    /// For `rows` rows, of which gate and up of up to `apart` come apart at a time.
    pub(super) fn new(
        device: &Device,
        products: &Products,
        rows: usize,
        apart: usize,
        intermediate_size: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            gate_up: device.room(apart * 2 * intermediate_size)?,
            gated: products.operand(rows, intermediate_size)?,
            intermediate_size,
        })
    }
}
