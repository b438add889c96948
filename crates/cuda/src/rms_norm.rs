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
    shape: Shape,
    eps: f32,
}

/// `AddArguments` in `kernels/rms_norm.cu`.
#[repr(C)]
struct AddArguments {
    x: PointerMut<f32>,
    weight: Pointer<f32>,
    out: PointerMut<f32>,
    shape: Shape,
    eps: f32,
}

/// Rows, and how many threads each has: the same fields in both kinds of arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rows: i32,
    features: i32,
    row_threads: i32,
}

/// Elements that a thread has of a row, and threads of a block, as the kernels have it; and what a block has where rows need less.
const MOST_ELEMENTS: usize = 32;
const MOST_THREADS: usize = 1024;
const THREADS: usize = 128;

impl Shape {
    fn new(rows: usize, features: usize) -> Result<Self, Error> {
        Error::check_features(features)?;
        if features > MOST_ELEMENTS * MOST_THREADS {
            let (expected, found) = (format!("up to {}", MOST_ELEMENTS * MOST_THREADS), features.to_string());
            return Err(Error::Unsupported { what: "features of a norm", expected, found });
        }
        let row_threads = features.div_ceil(MOST_ELEMENTS).next_power_of_two().max(32);
        Ok(Self { rows: rows as i32, features: features as i32, row_threads: row_threads as i32 })
    }

    fn grid(self) -> Grid {
        let threads = THREADS.max(self.row_threads as usize);
        Grid::rows((self.rows as usize).div_ceil(threads / self.row_threads as usize), threads as u32)
    }
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
    /// When lengths or devices do not belong together, `features` is not a multiple of 8 up to 32,768, or the driver
    /// refuses.
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
        let shape = Shape::new(rows, features)?;
        Error::check_len("residual stream", rows * features, x.len())?;
        Error::check_len("normalised rows", x.len(), out.len())?;
        let operands = [("residual stream", x.device()), ("norm", weight.device()), ("normalised rows", out.device())];
        kernel.check_device(operands)?;
        out.check_vectors("normalised rows")?;
        if rows == 0 {
            return Ok(());
        }
        let (x, weight, (out, scales)) = (x.pointer(), weight.pointer(), out.pointers());
        let arguments = Arguments { x, weight, out, scales, shape, eps };
        // SAFETY: `Arguments` mirrors the kernel's; threads of a row read and write it alone, below the checked lengths.
        unsafe { kernel.launch(shape.grid(), &arguments) }
    }

    /// `out += x / sqrt(mean(x^2) + eps) * weight`, row by row, and `x` becomes zeros: all `[row][features]`, `weight`
    /// `[features]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8 up to 32,768, or the driver
    /// refuses.
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
        let shape = Shape::new(rows, features)?;
        Error::check_len("residual stream", rows * features, out.len())?;
        Error::check_len("rows to normalise", out.len(), x.len())?;
        let operands =
            [("rows to normalise", x.device()), ("norm", weight.device()), ("residual stream", out.device())];
        self.add.check_device(operands)?;
        if rows == 0 {
            return Ok(());
        }
        let (x, weight, out) = (x.pointer_mut(), weight.pointer(), out.pointer_mut());
        let arguments = AddArguments { x, weight, out, shape, eps };
        // SAFETY: `AddArguments` mirrors the kernel's; threads of a row read and write it alone, below the checked lengths.
        unsafe { self.add.launch(shape.grid(), &arguments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_row_hold_all_of_it_and_blocks_hold_all_rows() {
        for features in (8..=32_768).step_by(8) {
            for rows in [1, 3, 4, 1001] {
                let shape = Shape::new(rows, features).unwrap();
                let (grid, row_threads) = (shape.grid(), shape.row_threads as u32);
                assert!(row_threads.is_power_of_two() && row_threads.is_multiple_of(32), "{shape:?}");
                assert!(row_threads as usize * MOST_ELEMENTS >= features && grid.threads as usize <= MOST_THREADS);
                assert!(grid.blocks.0 * (grid.threads / row_threads) >= rows as u32, "{shape:?}");
            }
        }
        assert!(matches!(Shape::new(1, 32_776), Err(Error::Unsupported { .. })));
    }
}
