//! Dense causal attention over a paged cache, for compute capability 8.0 and above.

use crate::batch::{Batch, BatchArguments, window_argument};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::kv::KvPages;
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;

/// The kernel for one shape of heads.
pub struct AttendSm80 {
    kernel: Kernel,
    heads: HeadShape,
    tile: Tile,
}

/// What the kernel of a head_dim was compiled for.
struct Tile {
    name: &'static str,
    block_m: usize,
    shared_bytes: usize,
}

const THREADS: u32 = 128;

impl Tile {
    fn of(head_dim: usize) -> Option<Self> {
        let (name, padded, block_m) = match head_dim {
            1..=64 => ("attend_sm80_d64", 64, 128),
            65..=128 => ("attend_sm80_d128", 128, 128),
            129..=192 => ("attend_sm80_d192", 192, 64),
            193..=256 => ("attend_sm80_d256", 256, 64),
            _ => return None,
        };
        let shared_bytes = (block_m + 2 * BLOCK_N) * padded * size_of::<bf16>();
        head_dim.is_multiple_of(16).then_some(Self { name, block_m, shared_bytes })
    }
}

/// `Arguments` in `kernels/attend_sm80.cu`.
#[repr(C)]
struct Arguments {
    q: Pointer<bf16>,
    k: Pointer<bf16>,
    v: Pointer<bf16>,
    o: PointerMut<bf16>,
    lse: PointerMut<f32>,
    batch: BatchArguments,
    head_dim: i32,
    sm_scale: f32,
    window: i32,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 104 && std::mem::offset_of!(Arguments, head_dim) == 88);

impl AttendSm80 {
    /// Whether a device has this kernel for heads of `head_dim`: a multiple of 16 up to 256.
    pub fn fits(device: &Device, head_dim: usize) -> bool {
        device.properties().capability >= (8, 0) && Tile::of(head_dim).is_some()
    }

    /// Loads the kernel.
    ///
    /// # Errors
    /// When the device or the head_dim does not [fit](Self::fits), or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        let Some(tile) = Tile::of(heads.head_dim()).filter(|_| Self::fits(device, heads.head_dim())) else {
            return Err(Error::Unsupported {
                what: "attention",
                expected: "compute capability 8.0 or newer and a head_dim that is a multiple of 16 up to 256".into(),
                found: format!("{:?} and {}", device.properties().capability, heads.head_dim()),
            });
        };
        let kernel = device.kernel(image!("attend_sm80"), tile.name, tile.shared_bytes)?;
        Ok(Self { kernel, heads, tile })
    }

    /// Queries of a tile, for [`Batch::new`].
    pub fn block_m(&self) -> usize {
        self.tile.block_m
    }

    /// Attends all queries of `batch`; see [`Attend::launch`](crate::attend::Attend::launch).
    ///
    /// # Errors
    /// When the shapes do not belong together, the window is empty, or the driver refuses.
    pub fn launch(
        &self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        batch: &Batch,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
        window: Option<usize>,
    ) -> Result<(), Error> {
        let heads = self.heads;
        self.kernel.check_device([("batch", batch.device())])?;
        batch.check_operands(heads, self.block_m(), q, kv, o, lse.as_deref())?;
        let arguments = Arguments {
            q: q.pointer(),
            k: kv.k.pointer(),
            v: kv.v.pointer(),
            o: o.pointer_mut(),
            lse: lse.map_or(PointerMut::null(), |lse| lse.pointer_mut()),
            batch: batch.arguments(self.kernel.device(), kv),
            head_dim: heads.head_dim() as i32,
            sm_scale: heads.sm_scale(),
            window: window_argument(window)?,
        };
        let items = (batch.num_tiles() * heads.num_q_heads()) as u32;
        let grid = Grid { blocks: (items, 1, 1), threads: THREADS, shared_bytes: self.tile.shared_bytes as u32 };
        // SAFETY: `Arguments` mirrors the kernel's. The kernel reads rows of q and writes rows of o and lse below
        // `num_rows`, by the batch's construction; reads pages below `num_pages`, checked by `check_operands`; and reads
        // tables by the offsets that `Batch::new` made.
        unsafe { self.kernel.launch(grid, &arguments) }
    }
}
