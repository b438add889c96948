//! The embedding table.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};
use half::bf16;

/// The kernel.
pub struct Embed {
    kernel: Kernel,
}

/// `Arguments` in `kernels/embed.cu`.
#[repr(C)]
struct Arguments {
    table: Pointer<bf16>,
    ids: Pointer<u32>,
    out: PointerMut<f32>,
    features: i32,
    vocab_size: u32,
}

impl Embed {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("embed"), "embed", 0)? })
    }

    /// `out[row] = table[ids[row]]`; `table` is `[vocab_size][features]`, `out` `[row][features]`. An id past the table
    /// reads its last row: check ids where they come in.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `features` is not a multiple of 8, or the driver refuses.
    pub fn launch(
        &self,
        table: &Buffer<bf16>,
        features: usize,
        ids: &Buffer<u32>,
        out: &mut Buffer<f32>,
    ) -> Result<(), Error> {
        Error::check_features(features)?;
        let vocab_size = table.len() / features;
        Error::check_len("embedding table", vocab_size.max(1) * features, table.len())?;
        Error::check_len("embedded rows", ids.len() * features, out.len())?;
        let operands = [("embedding table", table.device()), ("ids", ids.device()), ("embedded rows", out.device())];
        self.kernel.check_device(operands)?;
        if ids.is_empty() {
            return Ok(());
        }
        let arguments = Arguments {
            table: table.pointer(),
            ids: ids.pointer(),
            out: out.pointer_mut(),
            features: features as i32,
            vocab_size: vocab_size as u32,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads a row below `vocab_size` and writes its own.
        unsafe { self.kernel.launch(Grid::rows(ids.len(), 256), &arguments) }
    }
}
