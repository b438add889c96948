//! Attention of one new query a sequence, its keys split over the whole device.

use crate::batch::{Batch, BatchArguments, window_argument};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::kv::KvPages;
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;

/// The kernels for one shape of heads, and room for partial results of a number of sequences.
pub struct DecodeAttention {
    attend: Kernel,
    merge: Kernel,
    heads: HeadShape,
    tile: Tile,
    max_sequences: usize,
    num_splits: usize,
    partial: Buffer<f32>,
    weights: Buffer<[f32; 2]>,
}

/// What the kernels of a head_dim were compiled for.
struct Tile {
    attend: &'static str,
    merge: &'static str,
    padded: usize,
    shared_bytes: usize,
}

/// Query heads of a block.
const ROWS: usize = 16;
const THREADS: u32 = 128;
/// `merge_threads` in the kernel.
const MERGE_THREADS: usize = 4;
/// `max_splits` in the kernel.
const MAX_SPLITS: usize = 128;
/// Blocks of a grid along the sequences.
const MAX_SEQUENCES: usize = 65_535;
/// Shared memory that the system takes of every block.
const RESERVED_BYTES: usize = 1024;

impl Tile {
    fn of(head_dim: usize) -> Option<Self> {
        let (attend, merge, padded, stages) = match head_dim {
            1..=64 => ("decode_attention_d64", "decode_merge_d64", 64, 2),
            65..=128 => ("decode_attention_d128", "decode_merge_d128", 128, 2),
            129..=256 => ("decode_attention_d256", "decode_merge_d256", 256, 1),
            _ => return None,
        };
        let shared_bytes = (stages * 2 * BLOCK_N + ROWS) * padded * size_of::<bf16>();
        head_dim.is_multiple_of(16).then_some(Self { attend, merge, padded, shared_bytes })
    }
}

impl Tile {
    /// The share of each split, and a sum of each thread.
    fn merge_shared_bytes(&self) -> usize {
        (MAX_SPLITS + MERGE_THREADS * self.padded) * size_of::<f32>()
    }
}

/// `Arguments` in `kernels/decode_attention.cu`.
#[repr(C)]
struct Arguments {
    q: Pointer<bf16>,
    k: Pointer<bf16>,
    v: Pointer<bf16>,
    partial: PointerMut<f32>,
    weights: PointerMut<[f32; 2]>,
    o: PointerMut<bf16>,
    batch: BatchArguments,
    num_splits: i32,
    head_dim: i32,
    sm_scale: f32,
    window: i32,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 112 && std::mem::offset_of!(Arguments, num_splits) == 96);

impl DecodeAttention {
    /// Loads the kernels and reserves room for `max_sequences` sequences at a time.
    ///
    /// # Errors
    /// When head_dim is not a multiple of 16 up to 256, there are more sequences than a grid is deep, or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape, max_sequences: usize) -> Result<Self, Error> {
        let Some(tile) = Tile::of(heads.head_dim()) else {
            let (expected, found) = ("a multiple of 16 up to 256".into(), heads.head_dim().to_string());
            return Err(Error::Unsupported { what: "head_dim", expected, found });
        };
        if max_sequences > MAX_SEQUENCES {
            let (expected, found) = (format!("up to {MAX_SEQUENCES}"), max_sequences.to_string());
            return Err(Error::Unsupported { what: "sequences", expected, found });
        }
        // As many blocks as run at a time when there is one sequence: a second wave would leave most of the device idle. Up
        // to four a multiprocessor have enough copies in flight to fill the memory's bandwidth.
        let properties = device.properties();
        let resident = properties.shared_memory_per_multiprocessor_bytes / (tile.shared_bytes + RESERVED_BYTES);
        let blocks = heads.num_kv_heads() * heads.group_size().div_ceil(ROWS);
        let num_splits = (resident.clamp(1, 4) * properties.multiprocessors / blocks).clamp(1, MAX_SPLITS);
        let results = max_sequences * heads.num_q_heads() * num_splits;
        let image = image!("decode_attention");
        Ok(Self {
            attend: device.kernel(image, tile.attend, tile.shared_bytes)?.started_early(),
            merge: device.kernel(image, tile.merge, tile.merge_shared_bytes())?.started_early(),
            heads,
            max_sequences,
            num_splits,
            partial: device.zeros(results * tile.padded)?,
            weights: device.zeros(results)?,
            tile,
        })
    }

    /// Attends the one query of each sequence of `batch`; `q` and `o` are `[sequence][q_head][head_dim]`. A query sees the
    /// last `window` keys, its own included, or all of them; kv blocks that lie before are not read.
    ///
    /// # Errors
    /// When a sequence has more than one query, there are more sequences than reserved for, the window is empty, the shapes
    /// do not belong together, or the driver refuses.
    pub fn launch(
        &mut self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        batch: &Batch,
        o: &mut Buffer<bf16>,
        window: Option<usize>,
    ) -> Result<(), Error> {
        let (heads, sequences) = (self.heads, batch.num_sequences());
        if batch.longest_q_len() != 1 || sequences > self.max_sequences {
            return Err(Error::Unsupported {
                what: "decode batch",
                expected: format!("up to {} sequences of one query", self.max_sequences),
                found: format!("{sequences}, one of {} queries", batch.longest_q_len()),
            });
        }
        self.attend.check_device([("batch", batch.device())])?;
        batch.check_operands(heads, batch.block_m(), q, kv, o, None)?;
        let arguments = Arguments {
            q: q.pointer(),
            k: kv.k.pointer(),
            v: kv.v.pointer(),
            partial: self.partial.pointer_mut(),
            weights: self.weights.pointer_mut(),
            o: o.pointer_mut(),
            batch: batch.arguments(self.attend.device(), kv),
            num_splits: self.num_splits as i32,
            head_dim: heads.head_dim() as i32,
            sm_scale: heads.sm_scale(),
            window: window_argument(window)?,
        };
        let groups = heads.num_kv_heads() * heads.group_size().div_ceil(ROWS);
        let grid = Grid {
            blocks: (self.num_splits as u32, groups as u32, sequences as u32),
            threads: THREADS,
            shared_bytes: self.tile.shared_bytes as u32,
        };
        let of_heads = Grid {
            shared_bytes: self.tile.merge_shared_bytes() as u32,
            ..Grid::rows(sequences * heads.num_q_heads(), (MERGE_THREADS * self.tile.padded) as u32)
        };
        // SAFETY: `Arguments` mirrors the kernels'. They read rows of q and write rows of o below `sequences`, read pages
        // that `check_operands` found in the cache, and use the partial results of `max_sequences` sequences or fewer;
        // the second runs after the first.
        unsafe {
            self.attend.launch(grid, &arguments)?;
            self.merge.launch(of_heads, &arguments)
        }
    }
}
