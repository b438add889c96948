//! cos and sin of the rotations of a batch.

use crate::batch::Batch;
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};

/// The kernel, and the frequencies of a model.
pub struct Rotations {
    kernel: Kernel,
    frequencies: Buffer<f64>,
}

/// `Arguments` in `kernels/rotations.cu`.
#[repr(C)]
struct Arguments {
    frequencies: Pointer<f64>,
    positions: Pointer<i32>,
    out: PointerMut<[f32; 2]>,
    half: i32,
}

impl Rotations {
    /// For `head_dim / 2` frequencies, in radians a position.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device, frequencies: &[f64]) -> Result<Self, Error> {
        let kernel = device.kernel(image!("rotations"), "rotations", 0)?;
        Ok(Self { kernel, frequencies: device.upload(frequencies)? })
    }

    /// Writes cos and sin, `[row][head_dim / 2]`, of the positions of all queries of a batch.
    ///
    /// # Errors
    /// When `out` has another length, or the driver refuses.
    pub fn launch(&self, batch: &Batch, out: &mut Buffer<[f32; 2]>) -> Result<(), Error> {
        let half = self.frequencies.len();
        Error::check_len("rotations", batch.num_rows() * half, out.len())?;
        let arguments = Arguments {
            frequencies: self.frequencies.pointer(),
            positions: batch.positions.pointer(),
            out: out.pointer_mut(),
            half: half as i32,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block writes its row, below the checked length.
        unsafe { self.kernel.launch(Grid::rows(batch.num_rows(), 128), &arguments) }
    }
}
