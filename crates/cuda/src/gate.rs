//! The gate of an MLP: `activation(gate) * up`.

use crate::device::{Device, Grid, Kernel, Pointer, PointerMut, View};
use crate::rows::RowsMut;
use crate::{Error, image};
use half::bf16;

/// What is done to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`.
    GeluTanh,
}

/// The kernels.
pub struct Gate {
    silu: Outputs,
    gelu: Outputs,
}

/// To bf16, and to 8-bit floats.
struct Outputs {
    to_bf16: Kernel,
    to_fp8: Kernel,
}

/// `Arguments` in `kernels/gate.cu`.
#[repr(C)]
struct Arguments {
    gate_up: Pointer<bf16>,
    out: PointerMut<u8>,
    scales: PointerMut<f32>,
    features: i32,
}

impl Gate {
    /// Loads the kernels.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let kernel = |name| device.kernel(image!("gate"), name, 0).map(Kernel::started_early);
        Ok(Self {
            silu: Outputs { to_bf16: kernel("gate_silu_bf16")?, to_fp8: kernel("gate_silu_fp8")? },
            gelu: Outputs { to_bf16: kernel("gate_gelu_bf16")?, to_fp8: kernel("gate_gelu_fp8")? },
        })
    }

    /// `out[row][i] = activation(gate_up[row][0][i]) * gate_up[row][1][i]` for rows of `features`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch<'a>(
        &self,
        activation: Activation,
        gate_up: impl Into<View<'a, bf16>>,
        features: usize,
        out: impl Into<RowsMut<'a>>,
    ) -> Result<(), Error> {
        let (gate_up, mut out) = (gate_up.into(), out.into());
        let kernels = match activation {
            Activation::Silu => &self.silu,
            Activation::GeluTanh => &self.gelu,
        };
        let kernel = match out {
            RowsMut::Bf16(_) => &kernels.to_bf16,
            RowsMut::Fp8(_) => &kernels.to_fp8,
        };
        Error::check_features(features)?;
        let rows = out.len() / features;
        Error::check_len("gated rows", rows * features, out.len())?;
        Error::check_len("gate and up", 2 * out.len(), gate_up.len())?;
        kernel.check_device([("gate and up", gate_up.device()), ("gated rows", out.device())])?;
        gate_up.check_vectors("gate and up")?;
        out.check_vectors("gated rows")?;
        if rows == 0 {
            return Ok(());
        }
        let (gate_up, (out, scales)) = (gate_up.pointer(), out.pointers());
        let arguments = Arguments { gate_up, out, scales, features: features as i32 };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { kernel.launch(Grid::rows(rows, 256), &arguments) }
    }
}
