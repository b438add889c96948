//! RMS norm, of the residual stream and of what is added to it.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::rows::RowsMut;
use crate::{Error, image};

/// The kernels: to bf16, to 8-bit floats, and onto the residual stream.
pub struct RmsNorm {
    to_bf16: Kernel,
    to_fp8: Kernel,
    add: Kernel,
}

/// `Arguments` in `kernels/rms_norm.cu`.
#[repr(C)]
struct Arguments {
    x: Pointer<f32>,
    weight: Pointer<f32>,
    out: PointerMut<u8>,
    scales: PointerMut<f32>,
    features: i32,
    eps: f32,
}

/// `AddArguments` in `kernels/rms_norm.cu`.
#[repr(C)]
struct AddArguments {
    x: PointerMut<f32>,
    weight: Pointer<f32>,
    out: PointerMut<f32>,
    features: i32,
    eps: f32,
}

impl RmsNorm {
    /// Loads the kernels.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let kernel = |name| device.kernel(image!("rms_norm"), name, 0).map(Kernel::started_early);
        Ok(Self { to_bf16: kernel("rms_norm_bf16")?, to_fp8: kernel("rms_norm_fp8")?, add: kernel("add_rms_norm")? })
    }

    /// `out = x / sqrt(mean(x^2) + eps) * weight`, row by row: all `[row][features]`, `weight`
    /// `[features]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch<'a>(
        &self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: impl Into<RowsMut<'a>>,
    ) -> Result<(), Error> {
        let mut out = out.into();
        let kernel = match out {
            RowsMut::Bf16(_) => &self.to_bf16,
            RowsMut::Fp8(_) => &self.to_fp8,
        };
        let features = weight.len();
        Error::check_features(features)?;
        let rows = x.len() / features;
        Error::check_len("residual stream", rows * features, x.len())?;
        Error::check_len("normalised rows", x.len(), out.len())?;
        let operands = [("residual stream", x.device()), ("norm", weight.device()), ("normalised rows", out.device())];
        kernel.check_device(operands)?;
        out.check_vectors("normalised rows")?;
        if rows == 0 {
            return Ok(());
        }
        let (x, weight, (out, scales)) = (x.pointer(), weight.pointer(), out.pointers());
        let arguments = Arguments { x, weight, out, scales, features: features as i32, eps };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { kernel.launch(Grid::rows(rows, 256), &arguments) }
    }

    /// `out += x / sqrt(mean(x^2) + eps) * weight`, row by row, and `x` becomes zeros: all `[row][features]`, `weight`
    /// `[features]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch_add(
        &self,
        x: &mut Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
    ) -> Result<(), Error> {
        let features = weight.len();
        Error::check_features(features)?;
        let rows = out.len() / features;
        Error::check_len("residual stream", rows * features, out.len())?;
        Error::check_len("rows to normalise", out.len(), x.len())?;
        let operands =
            [("rows to normalise", x.device()), ("norm", weight.device()), ("residual stream", out.device())];
        self.add.check_device(operands)?;
        if rows == 0 {
            return Ok(());
        }
        let (x, weight, out) = (x.pointer_mut(), weight.pointer(), out.pointer_mut());
        let arguments = AddArguments { x, weight, out, features: features as i32, eps };
        // SAFETY: `AddArguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { self.add.launch(Grid::rows(rows, 256), &arguments) }
    }
}
