//! The most likely tokens of rows of logits, so that the host need not read the rows.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};

/// The kernel.
pub struct Likeliest {
    kernel: Kernel,
}

/// Blocks of a row: one alone would read a vocabulary at the speed of one multiprocessor.
const PARTS: usize = 16;
/// Ids are counted in 32 bits with a sign.
const MAX_VOCAB_SIZE: usize = i32::MAX as usize - PARTS * THREADS as usize;
const THREADS: u32 = 256;

/// `Arguments` in `kernels/likeliest.cu`.
#[repr(C)]
struct Arguments {
    logits: Pointer<f32>,
    best: PointerMut<u64>,
    vocab_size: i32,
    parts: i32,
}

impl Likeliest {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("likeliest"), "likeliest", 0)?.started_early() })
    }

    /// Room for [`find`](Self::find) in so many rows.
    ///
    /// # Errors
    /// When the device has none.
    pub fn room(device: &Device, rows: usize) -> Result<Buffer<u64>, Error> {
        device.room(rows * PARTS)
    }

    /// Waits for the device. The id of the largest of each row of `logits`, `[row][vocab_size]`, for as many rows as `room` is for: the
    /// lowest where several are equal, nothing where a logit of the row is no finite number.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, a row is empty or too long, and what the device says, of this and of everything
    /// asked for before.
    pub fn find(&self, logits: &Buffer<f32>, room: &mut Buffer<u64>) -> Result<Vec<Option<u32>>, Error> {
        self.kernel.check_device([("logits", logits.device()), ("room", room.device())])?;
        let rows = room.len() / PARTS;
        if rows == 0 {
            return Ok(Vec::new());
        }
        let vocab_size = logits.len() / rows;
        if !(1..=MAX_VOCAB_SIZE).contains(&vocab_size) {
            let (expected, found) = (format!("1 to {MAX_VOCAB_SIZE}"), vocab_size.to_string());
            return Err(Error::Unsupported { what: "vocabulary", expected, found });
        }
        Error::check_len("logits", rows * vocab_size, logits.len())?;
        let arguments = Arguments {
            logits: logits.pointer(),
            best: room.pointer_mut(),
            vocab_size: vocab_size as i32,
            parts: PARTS as i32,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads logits of its row and writes one number of the room.
        unsafe { self.kernel.launch(Grid::rows(rows * PARTS, THREADS), &arguments)? };
        let of_row =
            |parts: &[u64]| parts.iter().copied().max().filter(|best| *best != u64::MAX).map(|best| !best as u32);
        Ok(room.read()?.chunks_exact(PARTS).map(of_row).collect())
    }
}
