//! cos and sin of the rotations of a batch.

use crate::batch::Batch;
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};

/// The kernel.
pub struct Rotations {
    kernel: Kernel,
}

/// More than a head has, and few enough for a kernel to count.
const MAX_FREQUENCIES: usize = 1 << 16;

/// `Arguments` in `kernels/rotations.cu`.
#[repr(C)]
struct Arguments {
    frequencies: Pointer<f64>,
    positions: Pointer<i32>,
    out: PointerMut<[f32; 2]>,
    factor: f64,
    half: i32,
}

impl Rotations {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("rotations"), "rotations", 0)? })
    }

    /// Writes `factor` times cos and sin, `[row][head_dim / 2]`, of the positions of all queries of a batch;
    /// `frequencies` are `head_dim / 2` radians a position.
    ///
    /// # Errors
    /// When `out` has another length or devices differ, there are too many frequencies, or the driver refuses.
    pub fn launch(
        &self,
        frequencies: &Buffer<f64>,
        factor: f64,
        batch: &Batch,
        out: &mut Buffer<[f32; 2]>,
    ) -> Result<(), Error> {
        let half = frequencies.len();
        if half > MAX_FREQUENCIES {
            let (expected, found) = (format!("up to {MAX_FREQUENCIES}"), half.to_string());
            return Err(Error::Unsupported { what: "frequencies", expected, found });
        }
        let operands = [("frequencies", frequencies.device()), ("batch", batch.device()), ("rotations", out.device())];
        self.kernel.check_device(operands)?;
        Error::check_len("rotations", batch.num_rows() * half, out.len())?;
        let arguments = Arguments {
            frequencies: frequencies.pointer(),
            positions: batch.positions.pointer(),
            out: out.pointer_mut(),
            factor,
            half: half as i32,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block writes its row, below the checked length.
        unsafe { self.kernel.launch(Grid::rows(batch.num_rows(), 128), &arguments) }
    }
}
