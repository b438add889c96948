//! The gate of an MLP: `silu(gate) * up`.

use crate::device::{Device, Grid, Kernel, Pointer, PointerMut, View, ViewMut};
use crate::{Error, image};
use half::bf16;

/// The kernel.
pub struct SiluGate {
    kernel: Kernel,
}

/// `Arguments` in `kernels/silu_gate.cu`.
#[repr(C)]
struct Arguments {
    gate_up: Pointer<bf16>,
    out: PointerMut<bf16>,
    features: i32,
}

impl SiluGate {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("silu_gate"), "silu_gate", 0)? })
    }

    /// `out[row][i] = silu(gate_up[row][0][i]) * gate_up[row][1][i]` for rows of `features`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch<'a>(
        &self,
        gate_up: impl Into<View<'a, bf16>>,
        features: usize,
        out: impl Into<ViewMut<'a, bf16>>,
    ) -> Result<(), Error> {
        let (gate_up, mut out) = (gate_up.into(), out.into());
        Error::check_features(features)?;
        let rows = out.len() / features;
        Error::check_len("gated rows", rows * features, out.len())?;
        Error::check_len("gate and up", 2 * out.len(), gate_up.len())?;
        self.kernel.check_device([("gate and up", gate_up.device()), ("gated rows", out.device())])?;
        gate_up.check_vectors("gate and up")?;
        out.check_vectors("gated rows")?;
        if rows == 0 {
            return Ok(());
        }
        let arguments = Arguments { gate_up: gate_up.pointer(), out: out.pointer_mut(), features: features as i32 };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { self.kernel.launch(Grid::rows(rows, 256), &arguments) }
    }
}
