//! RMS norm.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};
use half::bf16;

/// The kernel.
pub struct RmsNorm {
    kernel: Kernel,
}

/// `Arguments` in `kernels/rms_norm.cu`.
#[repr(C)]
struct Arguments {
    x: Pointer<f32>,
    weight: Pointer<f32>,
    out: PointerMut<bf16>,
    features: i32,
    eps: f32,
}

impl RmsNorm {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("rms_norm"), "rms_norm", 0)? })
    }

    /// `out = x / sqrt(mean(x^2) + eps) * weight`, row by row: all `[row][features]`, `weight`
    /// `[features]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch(&self, x: &Buffer<f32>, weight: &Buffer<f32>, eps: f32, out: &mut Buffer<bf16>) -> Result<(), Error> {
        let features = weight.len();
        Error::check_features(features)?;
        let rows = x.len() / features;
        Error::check_len("residual stream", rows * features, x.len())?;
        Error::check_len("normalised rows", x.len(), out.len())?;
        let operands = [("residual stream", x.device()), ("norm", weight.device()), ("normalised rows", out.device())];
        self.kernel.check_device(operands)?;
        if rows == 0 {
            return Ok(());
        }
        let arguments = Arguments {
            x: x.pointer(),
            weight: weight.pointer(),
            out: out.pointer_mut(),
            features: features as i32,
            eps,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { self.kernel.launch(Grid::rows(rows, 256), &arguments) }
    }
}
