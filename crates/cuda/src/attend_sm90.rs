//! Causal attention over a paged cache, dense or by a plan, for compute capability 9.0.

use crate::batch::{Batch, BatchArguments, window_argument};
use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, TensorMap};
use crate::kv::KvPages;
use crate::plan::{DevicePlan, PlanArguments};
use crate::precision::Precision;
use crate::quantise_kv::{RoundKv, RoundedKv};
use crate::{Error, image};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;
use std::sync::MutexGuard;

/// The kernel for one shape of heads. Launches of one `AttendSm90` share its queue, so they must not overlap; on a
/// [`Device`] they cannot.
pub struct AttendSm90 {
    dense: Kernel,
    planned: Kernel,
    heads: HeadShape,
    tile: Tile,
    planned_tile: Tile,
    /// Items taken and blocks done; every launch leaves zeros.
    queue: Buffer<u32>,
    /// For products of 8-bit floats.
    rounding: Option<RoundKv>,
}

/// What the kernel of a head_dim was compiled for.
struct Tile {
    name: &'static str,
    consumers: usize,
    shared_bytes: usize,
}

impl Tile {
    const STEP_KEYS: usize = 128;

    fn dense(head_dim: usize, precision: Precision) -> Option<Self> {
        let name = match (head_dim, precision) {
            (64, Precision::Bf16) => "attend_sm90_d64",
            (128, Precision::Bf16) => "attend_sm90_d128",
            (64, Precision::Fp8) => "attend_fp8_sm90_d64",
            (128, Precision::Fp8) => "attend_fp8_sm90_d128",
            _ => return None,
        };
        Some(Self::new(name, 1, head_dim, precision))
    }

    fn planned(head_dim: usize, precision: Precision) -> Option<Self> {
        let name = match (head_dim, precision) {
            (64, Precision::Bf16) => "attend_sm90_planned_d64",
            (128, Precision::Bf16) => "attend_sm90_planned_d128",
            (64, Precision::Fp8) => "attend_fp8_sm90_planned_d64",
            (128, Precision::Fp8) => "attend_fp8_sm90_planned_d128",
            _ => return None,
        };
        Some(Self::new(name, 2, head_dim, precision))
    }

    fn new(name: &'static str, q_stages: usize, head_dim: usize, precision: Precision) -> Self {
        let (element_bytes, stages, consumers) = match precision {
            Precision::Fp8 => (size_of::<u8>(), 4, 2),
            _ => (size_of::<bf16>(), 2, if head_dim == 64 { 3 } else { 2 }),
        };
        let queries = q_stages * 64 * consumers * head_dim * size_of::<bf16>();
        let keys_and_values = 2 * stages * Self::STEP_KEYS * head_dim * element_bytes;
        let biases = stages * Self::STEP_KEYS * size_of::<f32>();
        // Barriers and the task take less than 1,024 bytes, and as many may be lost to alignment.
        Self { name, consumers, shared_bytes: queries + keys_and_values + biases + 2 * 1024 }
    }

    fn block_m(&self) -> usize {
        64 * self.consumers
    }

    fn grid(&self, device: &Device, items: usize) -> Grid {
        Grid {
            blocks: (device.properties().multiprocessors.min(items) as u32, 1, 1),
            threads: 128 * (1 + self.consumers as u32),
            shared_bytes: self.shared_bytes as u32,
        }
    }
}

/// `Arguments` in `kernels/sm90/shared.cuh`.
#[repr(C)]
struct Arguments {
    q: TensorMap,
    k: TensorMap,
    v: TensorMap,
    k_extras: TensorMap,
    v_extras: TensorMap,
    o: PointerMut<bf16>,
    lse: PointerMut<f32>,
    queue: PointerMut<u32>,
    batch: BatchArguments,
    plan: PlanArguments,
    kv_rows: i32,
    window: i32,
    sm_scale: f32,
    kv_scales: Pointer<[f32; 2]>,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 896 && std::mem::offset_of!(Arguments, kv_scales) == 792);

/// A window that hides nothing, with room to subtract from it.
const NO_WINDOW: i32 = 1 << 30;

impl AttendSm90 {
    /// Whether a device has this kernel for heads of `head_dim`.
    pub fn fits(device: &Device, head_dim: usize) -> bool {
        device.properties().capability == (9, 0) && Tile::dense(head_dim, Precision::Bf16).is_some()
    }

    /// Loads the kernels for products of a precision.
    ///
    /// # Errors
    /// When the device or the head_dim does not [fit](Self::fits), or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape, precision: Precision) -> Result<Self, Error> {
        let properties = device.properties();
        let d = heads.head_dim();
        let tiles = Tile::dense(d, precision).zip(Tile::planned(d, precision)).filter(|_| Self::fits(device, d));
        let Some((tile, planned_tile)) = tiles else {
            return Err(Error::Unsupported {
                what: "attention of compute capability 9.0",
                expected: "that capability and a head_dim of 64 or 128".into(),
                found: format!("{:?} and {d}", properties.capability),
            });
        };
        let image = if precision == Precision::Fp8 { image!("attend_fp8_sm90") } else { image!("attend_sm90") };
        let load = |tile: &Tile| device.kernel(image, tile.name, tile.shared_bytes).map(Kernel::started_early);
        let (dense, planned) = (load(&tile)?, load(&planned_tile)?);
        let rounding = precision.rounding().map(|rounding| RoundKv::new(device, heads, rounding)).transpose()?;
        Ok(Self { dense, planned, heads, tile, planned_tile, queue: device.zeros(2)?, rounding })
    }

    /// Name of the kernel, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.rounding {
            None => "attend_sm90",
            Some(_) => "attend_fp8_sm90",
        }
    }

    /// Queries of a tile, for [`Batch::new`].
    pub fn block_m(&self) -> usize {
        self.tile.block_m()
    }

    /// Queries of a tile of a plan of the kernel for such heads, if there is one.
    pub(crate) fn plan_block_m_of(head_dim: usize, precision: Precision) -> Option<usize> {
        Tile::planned(head_dim, precision).map(|tile| tile.block_m())
    }

    /// Queries of a tile of a plan.
    pub fn plan_block_m(&self) -> usize {
        self.planned_tile.block_m()
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
        window: Option<usize>,
    ) -> Result<(), Error> {
        self.dense.check_device([("batch", batch.device())])?;
        batch.check_operands(self.heads, self.block_m(), q, kv, o, lse.as_deref())?;
        let items = batch.num_tiles() * self.heads.num_q_heads();
        let window = window_argument(window)?.min(NO_WINDOW);
        let grid = self.tile.grid(self.dense.device(), items);
        let rounded = RoundKv::launch_if_any(&self.rounding, kv, batch, None, lse.is_some())?;
        let arguments =
            Arguments { window, ..self.arguments(self.block_m(), q, kv, rounded.as_deref(), batch, o, lse)? };
        // SAFETY: `Arguments` mirrors the kernel's. The kernel reads rows of q and writes rows of o and lse below
        // `num_rows`, by the batch's construction; reads pages below `num_pages`, checked by `check_operands`; reads tables
        // by the offsets that `Batch::new` made; and does not look at the plan.
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
        let items = plan.num_tiles() * self.heads.num_q_heads();
        let grid = self.planned_tile.grid(self.planned.device(), items);
        let rounded = RoundKv::launch_if_any(&self.rounding, kv, batch, Some(plan), lse.is_some())?;
        let (k_extras, v_extras) = match &rounded {
            Some(rounded) => rounded.extras_maps()?,
            None => {
                let dims = [self.heads.head_dim(), plan.extra_rows()];
                let map = |extras| TensorMap::new(extras, dims, [64, BLOCK_N]);
                (map(plan.k_extras())?, map(plan.v_extras())?)
            }
        };
        let arguments = Arguments {
            k_extras,
            v_extras,
            plan: plan.arguments(),
            ..self.arguments(self.plan_block_m(), q, kv, rounded.as_deref(), batch, o, lse)?
        };
        // SAFETY: as for `launch`; and a plan names only blocks that its tiles see, and rows of its own extras: it was
        // checked when it was uploaded, or made by the search for the batch's range.
        unsafe { self.planned.launch(grid, &arguments) }
    }

    /// Keys and values as the last launch rounded them, for checks; nothing in bf16.
    pub(crate) fn rounded(&self) -> Option<MutexGuard<'_, RoundedKv>> {
        self.rounding.as_ref().map(RoundKv::last)
    }

    /// What both kernels are told; the maps of extras, the plan and the window are the caller's to say.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    fn arguments(
        &self,
        block_m: usize,
        q: &Buffer<bf16>,
        kv: &KvPages,
        rounded: Option<&RoundedKv>,
        batch: &Batch,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
    ) -> Result<Arguments, Error> {
        let (k, v) = match rounded {
            Some(rounded) => rounded.maps()?,
            None => {
                let dims = [kv.heads().head_dim(), kv.rows()];
                (TensorMap::new(&kv.k, dims, [64, BLOCK_N])?, TensorMap::new(&kv.v, dims, [64, BLOCK_N])?)
            }
        };
        let (heads, rows) = (self.heads, batch.num_rows());
        Ok(Arguments {
            q: TensorMap::new(q, [heads.head_dim(), heads.num_q_heads(), rows], [64, 1, block_m])?,
            k,
            v,
            k_extras: k,
            v_extras: v,
            o: o.pointer_mut(),
            lse: lse.map_or(PointerMut::null(), |lse| lse.pointer_mut()),
            queue: self.queue.pointer_shared(),
            kv_scales: rounded.map_or(Pointer::null(), RoundedKv::scales),
            batch: batch.arguments(self.dense.device(), kv),
            plan: PlanArguments::none(),
            kv_rows: kv.rows() as i32,
            window: NO_WINDOW,
            sm_scale: heads.sm_scale(),
        })
    }
}
