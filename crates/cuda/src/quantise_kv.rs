//! Keys and values of a batch in 8-bit floats, for attention with products of those.

use crate::batch::{Batch, BatchArguments};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, TensorMap};
use crate::kv::KvPages;
use crate::plan::DevicePlan;
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;

/// The kernels for one shape of heads.
pub(crate) struct QuantiseKv {
    ranges: Kernel,
    scales: Kernel,
    quantise: Kernel,
    extras: Kernel,
    heads: HeadShape,
}

/// Keys and values of one layer as e4m3: keys less their head's mean, and values of each block transposed, each divided by its
/// head's scale. Made anew for every layer in the same room, which grows with the cache.
pub struct Fp8Kv {
    k: Buffer<u8>,
    v: Buffer<u8>,
    k_extras: Buffer<u8>,
    v_extras: Buffer<u8>,
    ranges: Buffer<f32>,
    means: Buffer<f32>,
    scales: Buffer<[f32; 2]>,
    head_dim: usize,
}

/// `Arguments` in `kernels/quantise_kv.cu`.
#[repr(C)]
struct Arguments {
    k: Pointer<bf16>,
    v: Pointer<bf16>,
    k_out: PointerMut<u8>,
    v_out: PointerMut<u8>,
    ranges: PointerMut<f32>,
    means: PointerMut<f32>,
    scales: PointerMut<[f32; 2]>,
    batch: BatchArguments,
    head_dim: i32,
    num_spans: i32,
    num_keys: i32,
    extra_rows: i32,
}

/// As in the kernel.
const SPAN_KEYS: usize = 128;
const THREADS: u32 = 256;

impl QuantiseKv {
    /// Loads the kernels.
    pub(crate) fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        let load = |name| device.kernel(image!("quantise_kv"), name, 0);
        Ok(Self {
            ranges: load("kv_ranges")?,
            scales: load("kv_scales")?,
            quantise: load("quantise_kv")?,
            extras: load("quantise_extras")?,
            heads,
        })
    }

    /// Rounds the keys and values of all sequences of `batch`, and the extras of a plan for it.
    ///
    /// # Errors
    /// When there is no room, or the driver refuses. The caller has checked that pages, batch and plan belong together.
    pub(crate) fn launch(
        &self,
        kv: &KvPages,
        batch: &Batch,
        plan: Option<&DevicePlan>,
        to: &mut Fp8Kv,
    ) -> Result<(), Error> {
        let device = self.ranges.device();
        let (d, kv_heads, sequences) = (self.heads.head_dim(), self.heads.num_kv_heads(), batch.num_sequences());
        let spans = batch.max_kv_len().div_ceil(SPAN_KEYS);
        grow(&mut to.k, kv.len())?;
        grow(&mut to.v, kv.len())?;
        grow(&mut to.ranges, kv_heads * sequences * spans * 4 * d)?;
        let num_keys: usize = batch.ranges().iter().map(|range| range.kv_len()).sum();
        let arguments = Arguments {
            k: kv.k.pointer(),
            v: kv.v.pointer(),
            k_out: to.k.pointer_mut(),
            v_out: to.v.pointer_mut(),
            ranges: to.ranges.pointer_mut(),
            means: to.means.pointer_mut(),
            scales: to.scales.pointer_mut(),
            batch: batch.arguments(device, kv),
            head_dim: d as i32,
            num_spans: (sequences * spans) as i32,
            num_keys: num_keys as i32,
            extra_rows: 0,
        };
        let grid = |x: usize, y: usize, z: usize, threads: u32| Grid {
            blocks: (x as u32, y as u32, z as u32),
            threads,
            shared_bytes: 0,
        };
        let blocks = batch.max_kv_len().div_ceil(BLOCK_N);
        // SAFETY: `Arguments` mirrors the kernels', which read the pages of the batch's sequences and write as much of room
        // that was made for all pages, spans and heads.
        unsafe {
            self.ranges.launch(grid(spans, kv_heads, sequences, THREADS), &arguments)?;
            self.scales.launch(grid(kv_heads, 1, 1, 1024), &arguments)?;
            self.quantise.launch(grid(blocks, kv_heads, sequences, THREADS), &arguments)?;
        }
        let Some(plan) = plan else { return Ok(()) };
        let rows = plan.extra_rows();
        grow(&mut to.k_extras, rows * d)?;
        grow(&mut to.v_extras, rows * d)?;
        let arguments = Arguments {
            k: plan.k_extras().pointer(),
            v: plan.v_extras().pointer(),
            k_out: to.k_extras.pointer_mut(),
            v_out: to.v_extras.pointer_mut(),
            extra_rows: (rows / (sequences * self.heads.num_q_heads())) as i32,
            ..arguments
        };
        // SAFETY: as above; a plan has as many rows for each query head of each sequence, whole steps of them.
        unsafe { self.extras.launch(grid(rows / BLOCK_N, 1, 1, THREADS), &arguments) }
    }
}

/// Makes room for exactly `len` elements: what lies beyond would not read as zeros.
fn grow<T: bytemuck::Pod>(buffer: &mut Buffer<T>, len: usize) -> Result<(), Error> {
    if buffer.len() != len {
        *buffer = buffer.device().room(len)?;
    }
    Ok(())
}

impl Fp8Kv {
    pub(crate) fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        Ok(Self {
            k: device.room(0)?,
            v: device.room(0)?,
            k_extras: device.room(0)?,
            v_extras: device.room(0)?,
            ranges: device.room(0)?,
            means: device.room(heads.num_kv_heads() * heads.head_dim())?,
            scales: device.room(heads.num_kv_heads())?,
            head_dim: heads.head_dim(),
        })
    }

    /// Bytes for a cache of `tokens` and plans with so many `extra_rows`.
    pub(crate) fn bytes(heads: HeadShape, tokens: usize, extra_rows: usize) -> usize {
        let rows = tokens.next_multiple_of(BLOCK_N) * heads.num_kv_heads() + extra_rows;
        let spans = tokens.div_ceil(SPAN_KEYS) * heads.num_kv_heads();
        (2 * rows + spans * 4 * size_of::<f32>()) * heads.head_dim()
    }

    pub(crate) fn scales(&self) -> Pointer<[f32; 2]> {
        self.scales.pointer()
    }

    /// Of keys and of values, for boxes of a block.
    pub(crate) fn maps(&self) -> Result<(TensorMap, TensorMap), Error> {
        self.maps_of(&self.k, &self.v)
    }

    /// The same of extras.
    pub(crate) fn extras_maps(&self) -> Result<(TensorMap, TensorMap), Error> {
        self.maps_of(&self.k_extras, &self.v_extras)
    }

    fn maps_of(&self, k: &Buffer<u8>, v: &Buffer<u8>) -> Result<(TensorMap, TensorMap), Error> {
        Ok((TensorMap::of_bytes(k, self.head_dim, BLOCK_N)?, TensorMap::of_bytes(v, BLOCK_N, self.head_dim)?))
    }

    /// Keys, values, means `[kv_head][head_dim]`, and scales of keys and values of each kv head, for checks.
    #[doc(hidden)]
    #[allow(clippy::type_complexity)] // four buffers, for tests alone
    pub fn read(&self) -> Result<(Vec<u8>, Vec<u8>, Vec<f32>, Vec<[f32; 2]>), Error> {
        Ok((self.k.read()?, self.v.read()?, self.means.read()?, self.scales.read()?))
    }
}
