//! Causal attention over a paged cache, dense or by a plan, for compute capability 8.0 and above.

use crate::batch::{Batch, BatchArguments, window_argument};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::kv::KvPages;
use crate::plan::{DevicePlan, Extra, PlanArguments};
use crate::precision::Precision;
use crate::quantise_kv::{RoundKv, RoundedKv};
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;
use std::sync::MutexGuard;

/// The kernels for one shape of heads.
pub struct AttendSm80 {
    dense: Kernel,
    planned: Kernel,
    heads: HeadShape,
    tile: Tile,
    /// For scores in 8-bit integers.
    rounding: Option<RoundKv>,
}

/// What the kernels of a head_dim were compiled for; dense and planned ones have the same tiles.
struct Tile {
    dense: &'static str,
    planned: &'static str,
    block_m: usize,
    shared_bytes: usize,
}

const THREADS: u32 = 128;

impl Tile {
    fn of(head_dim: usize, precision: Precision) -> Option<Self> {
        let (padded, block_m) = match head_dim {
            1..=64 => (64, 128),
            65..=128 => (128, 128),
            129..=192 => (192, 64),
            193..=256 => (256, 64),
            _ => return None,
        };
        let (dense, planned) = match (precision, padded) {
            (Precision::Bf16, 64) => ("attend_sm80_d64", "attend_sm80_planned_d64"),
            (Precision::Bf16, 128) => ("attend_sm80_d128", "attend_sm80_planned_d128"),
            (Precision::Bf16, 192) => ("attend_sm80_d192", "attend_sm80_planned_d192"),
            (Precision::Bf16, _) => ("attend_sm80_d256", "attend_sm80_planned_d256"),
            (Precision::Int8, 64) => ("attend_int8_sm80_d64", "attend_int8_sm80_planned_d64"),
            (Precision::Int8, 128) => ("attend_int8_sm80_d128", "attend_int8_sm80_planned_d128"),
            (Precision::Int8, 192) => ("attend_int8_sm80_d192", "attend_int8_sm80_planned_d192"),
            (Precision::Int8, _) => ("attend_int8_sm80_d256", "attend_int8_sm80_planned_d256"),
            (Precision::Fp8, _) => return None,
        };
        let value_bytes = padded * size_of::<bf16>();
        let (row_bytes, scales) = match precision {
            Precision::Int8 => (padded.next_multiple_of(128), block_m * size_of::<f32>()),
            _ => (value_bytes, 0),
        };
        let shared_bytes = (block_m + BLOCK_N) * row_bytes + BLOCK_N * value_bytes + scales;
        head_dim.is_multiple_of(16).then_some(Self { dense, planned, block_m, shared_bytes })
    }

    /// With the extras of a step and their biases behind the operands.
    fn planned_bytes(&self) -> usize {
        self.shared_bytes + BLOCK_N * (size_of::<Extra>() + size_of::<f32>())
    }
}

/// `Arguments` in `kernels/sm80/tile.cuh`.
#[repr(C)]
struct Arguments {
    q: Pointer<bf16>,
    /// bf16 or 8-bit integers, as extras.
    k: Pointer<u8>,
    v: Pointer<bf16>,
    k_extras: Pointer<u8>,
    v_extras: Pointer<bf16>,
    k_scales: Pointer<f32>,
    k_extras_scales: Pointer<f32>,
    o: PointerMut<bf16>,
    lse: PointerMut<f32>,
    batch: BatchArguments,
    plan: PlanArguments,
    head_dim: i32,
    sm_scale: f32,
    window: i32,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 200 && std::mem::offset_of!(Arguments, head_dim) == 184);

impl AttendSm80 {
    /// Whether a device has this kernel for heads of `head_dim`: a multiple of 16 up to 256.
    pub fn fits(device: &Device, head_dim: usize) -> bool {
        device.properties().capability >= (8, 0) && Tile::of(head_dim, Precision::Bf16).is_some()
    }

    /// Loads the kernels for products of a precision: bf16 or 8-bit integers.
    ///
    /// # Errors
    /// When the device or the head_dim does not [fit](Self::fits), or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape, precision: Precision) -> Result<Self, Error> {
        let d = heads.head_dim();
        let Some(tile) = Tile::of(d, precision).filter(|_| Self::fits(device, d)) else {
            return Err(Error::Unsupported {
                what: "attention",
                expected: "compute capability 8.0 or newer and a head_dim that is a multiple of 16 up to 256".into(),
                found: format!("{:?} and {}", device.properties().capability, heads.head_dim()),
            });
        };
        let image = if precision == Precision::Int8 { image!("attend_int8_sm80") } else { image!("attend_sm80") };
        let dense = device.kernel(image, tile.dense, tile.shared_bytes)?;
        let planned = device.kernel(image, tile.planned, tile.planned_bytes())?;
        let rounding = precision.rounding().map(|rounding| RoundKv::new(device, heads, rounding)).transpose()?;
        Ok(Self { dense, planned, heads, tile, rounding })
    }

    /// Name of the kernel, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.rounding {
            None => "attend_sm80",
            Some(_) => "attend_int8_sm80",
        }
    }

    /// Queries of a tile, for [`Batch::new`].
    pub fn block_m(&self) -> usize {
        self.tile.block_m
    }

    /// Queries of a tile of a plan of the kernel for such heads, if there is one.
    pub(crate) fn plan_block_m_of(head_dim: usize, precision: Precision) -> Option<usize> {
        Tile::of(head_dim, precision).map(|tile| tile.block_m)
    }

    /// Queries of a tile of a plan.
    pub fn plan_block_m(&self) -> usize {
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
        self.dense.check_device([("batch", batch.device())])?;
        batch.check_operands(self.heads, self.block_m(), q, kv, o, lse.as_deref())?;
        let window = window_argument(window)?;
        let rounded = RoundKv::launch_if_any(&self.rounding, kv, batch, None, lse.is_some())?;
        let arguments = Arguments { window, ..self.arguments(q, kv, rounded.as_deref(), batch, o, lse) };
        let grid = self.grid(batch.num_tiles(), self.tile.shared_bytes);
        // SAFETY: `Arguments` mirrors the kernel's. The kernel reads rows of q and writes rows of o and lse below
        // `num_rows`, by the batch's construction; reads pages below `num_pages`, checked by `check_operands`; reads
        // tables by the offsets that `Batch::new` made; and does not look at the plan.
        unsafe { self.dense.launch(grid, &arguments) }
    }

    /// Attends all queries of `batch` by `plan`; see [`Attend::launch_plan`](crate::attend::Attend::launch_plan).
    ///
    /// # Errors
    /// When the shapes do not belong together, or the driver refuses.
    pub fn launch_plan(
        &self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        batch: &Batch,
        plan: &DevicePlan,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
    ) -> Result<(), Error> {
        self.planned.check_device([("batch", batch.device()), ("plan", plan.device())])?;
        batch.check_operands(self.heads, batch.block_m(), q, kv, o, lse.as_deref())?;
        plan.check_operands(self.plan_block_m(), self.heads, batch)?;
        let rounded = RoundKv::launch_if_any(&self.rounding, kv, batch, Some(plan), lse.is_some())?;
        let (k_extras, k_extras_scales) = match &rounded {
            Some(rounded) => rounded.key_extras(),
            None => (plan.k_extras().pointer().cast(), Pointer::null()),
        };
        let arguments = Arguments {
            k_extras,
            k_extras_scales,
            v_extras: plan.v_extras().pointer(),
            plan: plan.arguments(),
            ..self.arguments(q, kv, rounded.as_deref(), batch, o, lse)
        };
        let grid = self.grid(plan.num_tiles(), self.tile.planned_bytes());
        // SAFETY: as for `launch`; and a plan names only blocks that its tiles see, and rows of its own extras: it was
        // checked when it was uploaded, or made by the search for the batch's range.
        unsafe { self.planned.launch(grid, &arguments) }
    }

    /// Keys as the last launch rounded them, for checks; nothing in bf16.
    pub(crate) fn rounded(&self) -> Option<MutexGuard<'_, RoundedKv>> {
        self.rounding.as_ref().map(RoundKv::last)
    }

    /// A block of threads for each tile of each head.
    fn grid(&self, num_tiles: usize, shared_bytes: usize) -> Grid {
        let items = (num_tiles * self.heads.num_q_heads()) as u32;
        Grid { blocks: (items, 1, 1), threads: THREADS, shared_bytes: shared_bytes as u32 }
    }

    /// What both kernels are told; extras, the plan and the window are the caller's to say.
    fn arguments(
        &self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        rounded: Option<&RoundedKv>,
        batch: &Batch,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
    ) -> Arguments {
        let (k, k_scales) = match rounded {
            Some(rounded) => rounded.keys(),
            None => (kv.k.pointer().cast(), Pointer::null()),
        };
        Arguments {
            q: q.pointer(),
            k,
            v: kv.v.pointer(),
            k_extras: Pointer::null(),
            v_extras: Pointer::null(),
            k_scales,
            k_extras_scales: Pointer::null(),
            o: o.pointer_mut(),
            lse: lse.map_or(PointerMut::null(), |lse| lse.pointer_mut()),
            batch: batch.arguments(self.dense.device(), kv),
            plan: PlanArguments::none(),
            head_dim: self.heads.head_dim() as i32,
            sm_scale: self.heads.sm_scale(),
            window: i32::MAX,
        }
    }
}
