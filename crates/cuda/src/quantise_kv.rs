//! Keys and values of a batch in 8-bit numbers, for attention with products of those.

use crate::batch::{Batch, BatchArguments};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, TensorMap};
use crate::kv::KvPages;
use crate::plan::DevicePlan;
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What keys and values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// Both e4m3: keys less their head's mean, and values of each block transposed, each divided by its head's scale.
    Fp8,
    /// Keys alone, integers: less their head's mean, divided by their block's scale.
    Int8Keys,
}

/// Rounds keys and values before every launch of a kernel that reads them so.
pub(crate) struct RoundKv(Box<(QuantiseKv, Mutex<RoundedKv>)>);

impl RoundKv {
    /// Loads the kernels.
    pub(crate) fn new(device: &Device, heads: HeadShape, rounding: Rounding) -> Result<Self, Error> {
        let room = Mutex::new(RoundedKv::new(device, heads)?);
        Ok(Self(Box::new((QuantiseKv::new(device, heads, rounding)?, room))))
    }

    /// Rounds the keys and values of all sequences of `batch`, and the extras of a plan for it.
    ///
    /// # Errors
    /// When an `lse` is wanted, which would be that of keys less their mean, there is no room, or the driver refuses. The caller has
    /// checked that pages, batch and plan belong together.
    pub(crate) fn launch(
        &self,
        kv: &KvPages,
        batch: &Batch,
        plan: Option<&DevicePlan>,
        wants_lse: bool,
    ) -> Result<MutexGuard<'_, RoundedKv>, Error> {
        if wants_lse {
            let (expected, found) = ("no lse".into(), "an lse to write".into());
            return Err(Error::Unsupported { what: "attention in 8 bits", expected, found });
        }
        let mut rounded = self.last();
        self.0.0.launch(kv, batch, plan, &mut rounded)?;
        Ok(rounded)
    }

    /// As [`launch`](Self::launch) of a kernel that may read them as they are.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn launch_if_any<'a>(
        rounding: &'a Option<Self>,
        kv: &KvPages,
        batch: &Batch,
        plan: Option<&DevicePlan>,
        wants_lse: bool,
    ) -> Result<Option<MutexGuard<'a, RoundedKv>>, Error> {
        rounding.as_ref().map(|rounding| rounding.launch(kv, batch, plan, wants_lse)).transpose()
    }

    /// What the last launch made.
    pub(crate) fn last(&self) -> MutexGuard<'_, RoundedKv> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernels for one shape of heads.
struct QuantiseKv {
    summary: Summary,
    quantise: Kernel,
    extras: Kernel,
    heads: HeadShape,
    rounding: Rounding,
}

/// Rounded keys and values of one layer. Made anew for every layer in the same room, which grows with the cache.
pub struct RoundedKv {
    k: Buffer<u8>,
    v: Buffer<u8>,
    k_extras: Buffer<u8>,
    v_extras: Buffer<u8>,
    ranges: Buffer<f32>,
    means: Buffer<f32>,
    /// Of keys and of values of each head.
    scales: Buffer<[f32; 2]>,
    /// Of 64 rows of `k` each, and of `k_extras`.
    block_scales: Buffer<f32>,
    extras_scales: Buffer<f32>,
    head_dim: usize,
}

/// [`RoundedKv`] on the host, for checks.
#[doc(hidden)]
pub struct RoundedOnHost {
    pub k: Vec<u8>,
    pub v: Vec<u8>,
    /// `[kv_head][head_dim]`
    pub means: Vec<f32>,
    pub scales: Vec<[f32; 2]>,
    pub block_scales: Vec<f32>,
}

/// `Arguments` in `kernels/quantise_kv.cu`.
#[repr(C)]
struct Arguments {
    k: Pointer<bf16>,
    v: Pointer<bf16>,
    k_out: PointerMut<u8>,
    v_out: PointerMut<u8>,
    block_scales: PointerMut<f32>,
    ranges: PointerMut<f32>,
    means: PointerMut<f32>,
    scales: PointerMut<[f32; 2]>,
    batch: BatchArguments,
    head_dim: i32,
    num_spans: i32,
    num_keys: i32,
    extra_rows: i32,
    num_sequences: i32,
}

/// As in the kernel.
const SPAN_KEYS: usize = 128;
const THREADS: u32 = 256;

/// What is known of all keys and values before they are rounded.
enum Summary {
    /// Means of keys, and how large keys and values are.
    Scales { ranges: Kernel, scales: Kernel },
    /// Means of keys.
    Means(Kernel),
}

impl QuantiseKv {
    fn new(device: &Device, heads: HeadShape, rounding: Rounding) -> Result<Self, Error> {
        let load = |name| device.kernel(image!("quantise_kv"), name, 0);
        Ok(match rounding {
            Rounding::Fp8 => Self {
                summary: Summary::Scales { ranges: load("kv_ranges")?, scales: load("kv_scales")? },
                quantise: load("quantise_kv")?,
                extras: load("quantise_extras")?,
                heads,
                rounding,
            },
            Rounding::Int8Keys => Self {
                summary: Summary::Means(load("key_means")?),
                quantise: load("quantise_keys")?,
                extras: load("quantise_key_extras")?,
                heads,
                rounding,
            },
        })
    }

    fn launch(&self, kv: &KvPages, batch: &Batch, plan: Option<&DevicePlan>, to: &mut RoundedKv) -> Result<(), Error> {
        let device = self.quantise.device();
        let (d, kv_heads, sequences) = (self.heads.head_dim(), self.heads.num_kv_heads(), batch.num_sequences());
        let spans = batch.max_kv_len().div_ceil(SPAN_KEYS);
        grow(&mut to.k, kv.len())?;
        match self.rounding {
            Rounding::Fp8 => {
                grow(&mut to.v, kv.len())?;
                grow(&mut to.ranges, kv_heads * sequences * spans * 4 * d)?;
            }
            Rounding::Int8Keys => grow(&mut to.block_scales, kv.rows() / BLOCK_N)?,
        }
        let num_keys: usize = batch.ranges().iter().map(|range| range.kv_len()).sum();
        let arguments = Arguments {
            k: kv.k.pointer(),
            v: kv.v.pointer(),
            k_out: to.k.pointer_mut(),
            v_out: self.values(&mut to.v),
            block_scales: to.block_scales.pointer_mut(),
            ranges: to.ranges.pointer_mut(),
            means: to.means.pointer_mut(),
            scales: to.scales.pointer_mut(),
            batch: batch.arguments(device, kv),
            head_dim: d as i32,
            num_spans: (sequences * spans) as i32,
            num_keys: num_keys as i32,
            extra_rows: 0,
            num_sequences: sequences as i32,
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
            match &self.summary {
                Summary::Scales { ranges, scales } => {
                    ranges.launch(grid(spans, kv_heads, sequences, THREADS), &arguments)?;
                    scales.launch(grid(kv_heads, 1, 1, 1024), &arguments)?;
                }
                Summary::Means(means) => means.launch(grid(kv_heads, 1, 1, 1024), &arguments)?,
            }
            self.quantise.launch(grid(blocks, kv_heads, sequences, THREADS), &arguments)?;
        }
        let Some(plan) = plan else { return Ok(()) };
        let rows = plan.extra_rows();
        grow(&mut to.k_extras, rows * d)?;
        match self.rounding {
            Rounding::Fp8 => grow(&mut to.v_extras, rows * d)?,
            Rounding::Int8Keys => grow(&mut to.extras_scales, rows / BLOCK_N)?,
        }
        let arguments = Arguments {
            k: plan.k_extras().pointer(),
            v: plan.v_extras().pointer(),
            k_out: to.k_extras.pointer_mut(),
            v_out: self.values(&mut to.v_extras),
            block_scales: to.extras_scales.pointer_mut(),
            extra_rows: (rows / (sequences * self.heads.num_q_heads())) as i32,
            ..arguments
        };
        // SAFETY: as above; a plan has as many rows for each query head of each sequence, whole steps of them.
        unsafe { self.extras.launch(grid(rows / BLOCK_N, 1, 1, THREADS), &arguments) }
    }

    /// Where values go, or nowhere.
    fn values(&self, to: &mut Buffer<u8>) -> PointerMut<u8> {
        match self.rounding {
            Rounding::Fp8 => to.pointer_mut(),
            Rounding::Int8Keys => PointerMut::null(),
        }
    }
}

/// Makes room for exactly `len` elements: what lies beyond would not read as zeros.
fn grow<T: bytemuck::Pod>(buffer: &mut Buffer<T>, len: usize) -> Result<(), Error> {
    if buffer.len() != len {
        *buffer = buffer.device().room(len)?;
    }
    Ok(())
}

impl RoundedKv {
    pub(crate) fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        Ok(Self {
            k: device.room(0)?,
            v: device.room(0)?,
            k_extras: device.room(0)?,
            v_extras: device.room(0)?,
            ranges: device.room(0)?,
            means: device.room(heads.num_kv_heads() * heads.head_dim())?,
            scales: device.room(heads.num_kv_heads())?,
            block_scales: device.room(0)?,
            extras_scales: device.room(0)?,
            head_dim: heads.head_dim(),
        })
    }

    /// Bytes for a cache of `tokens` and plans with so many `extra_rows`.
    pub(crate) fn bytes(rounding: Rounding, heads: HeadShape, tokens: usize, extra_rows: usize) -> usize {
        let rows = tokens.next_multiple_of(BLOCK_N) * heads.num_kv_heads() + extra_rows;
        let spans = tokens.div_ceil(SPAN_KEYS) * heads.num_kv_heads();
        match rounding {
            Rounding::Fp8 => (2 * rows + spans * 4 * size_of::<f32>()) * heads.head_dim(),
            Rounding::Int8Keys => rows * heads.head_dim() + rows / BLOCK_N * size_of::<f32>(),
        }
    }

    /// Integer keys and their scales.
    pub(crate) fn keys(&self) -> (Pointer<u8>, Pointer<f32>) {
        (self.k.pointer(), self.block_scales.pointer())
    }

    /// The same of extras.
    pub(crate) fn key_extras(&self) -> (Pointer<u8>, Pointer<f32>) {
        (self.k_extras.pointer(), self.extras_scales.pointer())
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

    /// What the last launch made.
    #[doc(hidden)]
    pub fn read(&self) -> Result<RoundedOnHost, Error> {
        Ok(RoundedOnHost {
            k: self.k.read()?,
            v: self.v.read()?,
            means: self.means.read()?,
            scales: self.scales.read()?,
            block_scales: self.block_scales.read()?,
        })
    }
}
