//! Bias, norms of heads, rotation, and keys and values into their pages, in one pass.

use crate::batch::Batch;
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::kv::KvPages;
use crate::{Error, image};
use half::bf16;

/// The kernel.
pub struct QkvRopeStore {
    kernel: Kernel,
}

/// Elements that rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Element `i` and element `i + rotary_dim / 2`.
    Halves,
    /// Elements `2 i` and `2 i + 1`.
    Adjacent,
}

/// How heads turn.
#[derive(Clone, Copy)]
pub struct Turning<'a> {
    /// cos and sin, `[row][rotary_dim / 2]`.
    pub rotations: &'a Buffer<[f32; 2]>,
    /// Elements of a head that rotate, the first ones: even. The rest passes through.
    pub rotary_dim: usize,
    /// Which of them rotate together.
    pub pairing: Pairing,
}

/// What happens to a head before it is rotated.
#[derive(Clone, Copy, Default)]
pub struct HeadParameters<'a> {
    /// Added to queries, keys and values, `[q heads, k heads, v heads][head_dim]`.
    pub bias: Option<&'a Buffer<f32>>,
    /// Weights of the RMS norms of each query and of each key head, `[head_dim]` both. head_dim must then be 16 times a
    /// power of two.
    pub norms: Option<(&'a Buffer<f32>, &'a Buffer<f32>)>,
    /// Epsilon of the norms.
    pub eps: f32,
}

/// `Arguments` in `kernels/qkv_rope_store.cu`.
#[repr(C)]
struct Arguments {
    qkv: Pointer<bf16>,
    bias: Pointer<f32>,
    q_norm: Pointer<f32>,
    k_norm: Pointer<f32>,
    rotations: Pointer<[f32; 2]>,
    slots: Pointer<i32>,
    q: PointerMut<bf16>,
    k: PointerMut<bf16>,
    v: PointerMut<bf16>,
    rows: i32,
    num_q_heads: i32,
    num_kv_heads: i32,
    head_dim: i32,
    rotary_dim: i32,
    page_size: i32,
    adjacent: i32,
    eps: f32,
}

/// Elements that a thread takes, and threads of a block.
const ELEMENTS: usize = 16;
const THREADS: usize = 256;

impl QkvRopeStore {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("qkv_rope_store"), "qkv_rope_store", 0)?.started_early() })
    }

    /// Checks that there is a kernel for heads of `head_dim` elements.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there is none.
    pub fn check_head_dim(head_dim: usize, with_norms: bool) -> Result<(), Error> {
        let (fits, expected) = match with_norms {
            false => (head_dim.is_multiple_of(16), "a multiple of 16"),
            true => (
                (16..=512).contains(&head_dim) && head_dim.is_power_of_two(),
                "a power of two from 16 to 512, with norms",
            ),
        };
        match fits {
            true => Ok(()),
            false => {
                let found = head_dim.to_string();
                Err(Error::Unsupported { what: "head_dim", expected: expected.into(), found })
            }
        }
    }

    /// Takes `qkv`, `[row][q heads, k heads, v heads][head_dim]`, adds the bias, normalises and rotates queries and
    /// keys, and writes queries to `q`, `[row][q_head][head_dim]`, keys and values to the pages of `batch`.
    ///
    /// # Errors
    /// When the shapes do not belong together, or the driver refuses.
    pub fn launch(
        &self,
        qkv: &Buffer<bf16>,
        parameters: HeadParameters,
        Turning { rotations, rotary_dim, pairing }: Turning,
        batch: &Batch,
        q: &mut Buffer<bf16>,
        kv: &mut KvPages,
    ) -> Result<(), Error> {
        let (heads, rows) = (kv.heads(), batch.num_rows());
        let d = heads.head_dim();
        let width = (heads.num_q_heads() + 2 * heads.num_kv_heads()) * d;
        batch.check_pages(kv)?;
        let HeadParameters { bias, norms, eps } = parameters;
        Self::check_head_dim(d, norms.is_some())?;
        if rotary_dim == 0 || rotary_dim > d || !rotary_dim.is_multiple_of(2) {
            let (expected, found) = (format!("an even number from 2 to {d}"), rotary_dim.to_string());
            return Err(Error::Unsupported { what: "rotated elements of a head", expected, found });
        }
        let operands = [
            ("batch", batch.device()),
            ("queries, keys and values", qkv.device()),
            ("rotations", rotations.device()),
            ("queries", q.device()),
        ];
        let of_norms = norms.into_iter().flat_map(<[_; 2]>::from).map(|norm| ("norm of a head", norm.device()));
        let of_bias = bias.map(|bias| ("bias", bias.device()));
        self.kernel.check_device(operands.into_iter().chain(of_bias).chain(of_norms))?;
        Error::check_len("queries, keys and values", rows * width, qkv.len())?;
        Error::check_len("rotations", rows * rotary_dim / 2, rotations.len())?;
        Error::check_len("queries", rows * heads.num_q_heads() * d, q.len())?;
        if let Some(bias) = bias {
            Error::check_len("bias", width, bias.len())?;
        }
        for norm in norms.into_iter().flat_map(<[_; 2]>::from) {
            Error::check_len("norm of a head", d, norm.len())?;
        }
        let arguments = Arguments {
            qkv: qkv.pointer(),
            bias: bias.map_or(Pointer::null(), Buffer::pointer),
            q_norm: norms.map_or(Pointer::null(), |(q, _)| q.pointer()),
            k_norm: norms.map_or(Pointer::null(), |(_, k)| k.pointer()),
            rotations: rotations.pointer(),
            slots: batch.slots.pointer(),
            q: q.pointer_mut(),
            k: kv.k.pointer_mut(),
            v: kv.v.pointer_mut(),
            rows: rows as i32,
            num_q_heads: heads.num_q_heads() as i32,
            num_kv_heads: heads.num_kv_heads() as i32,
            head_dim: d as i32,
            rotary_dim: rotary_dim as i32,
            page_size: kv.page_size() as i32,
            adjacent: (pairing == Pairing::Adjacent) as i32,
            eps,
        };
        let threads = rows * width / ELEMENTS;
        // SAFETY: `Arguments` mirrors the kernel's; every thread reads and writes elements of one row, below the checked lengths, and
        // of its slot, which lies in a page that `check_pages` found in the cache.
        unsafe { self.kernel.launch(Grid::rows(threads.div_ceil(THREADS), THREADS as u32), &arguments) }
    }
}
