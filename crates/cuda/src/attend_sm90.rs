//! Dense causal attention over a paged cache, for compute capability 9.0.

use crate::batch::{Batch, BatchArguments};
use crate::device::{Buffer, Device, Grid, Kernel, PointerMut, TensorMap};
use crate::kv::KvPages;
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;

/// The kernel for one shape of heads. Launches of one `AttendSm90` share its queue, so they must not overlap; on a
/// [`Device`] they cannot.
pub struct AttendSm90 {
    kernel: Kernel,
    heads: HeadShape,
    tile: Tile,
    /// Items taken and blocks done; every launch leaves zeros.
    queue: Buffer<u32>,
}

/// What the kernel of a head_dim was compiled for.
struct Tile {
    name: &'static str,
    consumers: usize,
    shared_bytes: usize,
}

impl Tile {
    const STEP_KEYS: usize = 128;
    const STAGES: usize = 2;

    fn of(head_dim: usize) -> Option<Self> {
        let (name, consumers) = match head_dim {
            64 => ("attend_sm90_d64", 3),
            128 => ("attend_sm90_d128", 2),
            _ => return None,
        };
        let queries = 64 * consumers * head_dim;
        let keys_and_values = 2 * Self::STAGES * Self::STEP_KEYS * head_dim;
        // Barriers take less than 1,024 bytes, and as many may be lost to alignment.
        let shared_bytes = (queries + keys_and_values) * size_of::<bf16>() + 2 * 1024;
        Some(Self { name, consumers, shared_bytes })
    }

    fn block_m(&self) -> usize {
        64 * self.consumers
    }
}

/// `Arguments` in `kernels/attend_sm90.cu`.
#[repr(C)]
struct Arguments {
    q: TensorMap,
    k: TensorMap,
    v: TensorMap,
    o: PointerMut<bf16>,
    lse: PointerMut<f32>,
    queue: PointerMut<u32>,
    batch: BatchArguments,
    kv_rows: i32,
    sm_scale: f32,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 512 && std::mem::offset_of!(Arguments, kv_rows) == 456);

impl AttendSm90 {
    /// Whether a device has this kernel for heads of `head_dim`.
    pub fn fits(device: &Device, head_dim: usize) -> bool {
        device.properties().capability == (9, 0) && Tile::of(head_dim).is_some()
    }

    /// Loads the kernel.
    ///
    /// # Errors
    /// When the device or the head_dim does not [fit](Self::fits), or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        let properties = device.properties();
        let Some(tile) = Tile::of(heads.head_dim()).filter(|_| Self::fits(device, heads.head_dim())) else {
            return Err(Error::Unsupported {
                what: "attention of compute capability 9.0",
                expected: "that capability and a head_dim of 64 or 128".into(),
                found: format!("{:?} and {}", properties.capability, heads.head_dim()),
            });
        };
        let kernel = device.kernel(image!("attend_sm90"), tile.name, tile.shared_bytes)?;
        Ok(Self { kernel, heads, tile, queue: device.zeros(2)? })
    }

    /// Queries of a tile, for [`Batch::new`].
    pub fn block_m(&self) -> usize {
        self.tile.block_m()
    }

    /// Attends all queries of `batch`; see [`Attend::launch`](crate::attend::Attend::launch).
    ///
    /// # Errors
    /// When the shapes do not belong together, or the driver refuses.
    pub fn launch(
        &self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        batch: &Batch,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
    ) -> Result<(), Error> {
        let heads = self.heads;
        let (rows, d) = (batch.num_rows(), heads.head_dim());
        batch.check_operands(heads, self.block_m(), q, kv, o, lse.as_deref())?;
        let items = batch.num_tiles() * heads.num_q_heads();
        let arguments = Arguments {
            q: TensorMap::new(q, [d, heads.num_q_heads(), rows], [64, 1, self.block_m()])?,
            k: TensorMap::new(&kv.k, [d, kv.rows()], [64, BLOCK_N])?,
            v: TensorMap::new(&kv.v, [d, kv.rows()], [64, BLOCK_N])?,
            o: o.pointer_mut(),
            lse: lse.map_or(PointerMut::null(), |lse| lse.pointer_mut()),
            queue: self.queue.pointer_shared(),
            batch: batch.arguments(self.kernel.device(), kv),
            kv_rows: kv.rows() as i32,
            sm_scale: heads.sm_scale(),
        };
        let blocks = self.kernel.device().properties().multiprocessors.min(items) as u32;
        let grid = Grid {
            blocks: (blocks, 1, 1),
            threads: 128 * (1 + self.tile.consumers as u32),
            shared_bytes: self.tile.shared_bytes as u32,
        };
        // SAFETY: `Arguments` mirrors the kernel's. The kernel reads rows of q and writes rows of o and lse below
        // `num_rows`, by the batch's construction; reads pages below `num_pages`, checked by `check_operands`; and reads
        // tables by the offsets that `Batch::new` made.
        unsafe { self.kernel.launch(grid, &arguments) }
    }
}
