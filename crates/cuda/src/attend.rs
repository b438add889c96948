//! Causal attention, dense or by a plan, with the best kernel that a device has.

use crate::Error;
use crate::attend_sm80::AttendSm80;
use crate::attend_sm90::AttendSm90;
use crate::batch::Batch;
use crate::device::{Buffer, Device, Properties};
use crate::kv::KvPages;
use crate::plan::{DevicePlan, extra_rows};
use crate::precision::Precision;
use crate::quantise_kv::RoundedKv;
use crate::search::MOST_COLUMNS;
use attention::calibration::GpuKernel;
use attention::shape::{HeadShape, Tiles};
use half::bf16;
use std::sync::MutexGuard;

/// A kernel for one shape of heads. Launches of one `Attend` follow each other on its device.
pub enum Attend {
    /// Any device from compute capability 8.0 on.
    Sm80(AttendSm80),
    /// Compute capability 9.0, head_dim 64 or 128.
    Sm90(AttendSm90),
}

impl Attend {
    /// The fastest kernel for these heads on this device.
    ///
    /// # Errors
    /// When there is none, or the driver refuses.
    pub fn new(device: &Device, heads: HeadShape) -> Result<Self, Error> {
        if AttendSm90::fits(device, heads.head_dim()) {
            return Ok(Self::Sm90(AttendSm90::new(device, heads, Precision::Bf16)?));
        }
        Ok(Self::Sm80(AttendSm80::new(device, heads, Precision::Bf16)?))
    }

    /// The fastest kernel with products of this precision.
    ///
    /// # Errors
    /// When there is none, or the driver refuses.
    pub fn with_precision(device: &Device, heads: HeadShape, precision: Precision) -> Result<Self, Error> {
        match precision {
            Precision::Bf16 => Self::new(device, heads),
            Precision::Fp8 => Ok(Self::Sm90(AttendSm90::new(device, heads, precision)?)),
            Precision::Int8 => Ok(Self::Sm80(AttendSm80::new(device, heads, precision)?)),
        }
    }

    /// Queries of the smallest tile of a plan that the kernels have for heads of `head_dim`, whatever the device.
    ///
    /// # Errors
    /// When no device has a kernel.
    pub fn least_plan_block_m(head_dim: usize, precision: Precision) -> Result<usize, Error> {
        let of_kernels =
            [AttendSm80::plan_block_m_of(head_dim, precision), AttendSm90::plan_block_m_of(head_dim, precision)];
        of_kernels.into_iter().flatten().min().ok_or_else(|| Error::Unsupported {
            what: "attention",
            expected: "a head_dim that is a multiple of 16 up to 256, 64 or 128 in 8-bit floats".into(),
            found: format!("{head_dim} in {precision:?}"),
        })
    }

    /// Bytes that it holds beside its operands for a cache of `tokens`, and for the plans of a search of these tiles, if any.
    pub fn scratch_bytes(precision: Precision, heads: HeadShape, tokens: usize, planned: Option<Tiles>) -> usize {
        let of_head = planned.map_or(0, |tiles| extra_rows(MOST_COLUMNS, tiles.num_blocks()));
        let of_rounding = |rounding| RoundedKv::bytes(rounding, heads, tokens, of_head * heads.num_q_heads());
        precision.rounding().map_or(0, of_rounding)
    }

    /// Name of the kernel, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sm80(attend) => attend.name(),
            Self::Sm90(attend) => attend.name(),
        }
    }

    /// What its costs depend on, as calibration files name it.
    pub fn identity(&self, device: &Device, heads: HeadShape) -> GpuKernel {
        let Properties { name, capability, driver_version, .. } = device.properties().clone();
        let (kernel, block_m) = (self.name().into(), self.plan_block_m());
        GpuKernel { device: name, capability, driver_version, kernel, block_m, heads }
    }

    /// Queries of a tile, for [`Batch::new`].
    pub fn block_m(&self) -> usize {
        match self {
            Self::Sm80(attend) => attend.block_m(),
            Self::Sm90(attend) => attend.block_m(),
        }
    }

    /// Attends all queries of `batch`.
    ///
    /// `q` and `o` are `[row][q_head][head_dim]`, `lse` is `[q_head][row]`, natural logarithm. Keys at or past the end of
    /// a sequence are not used, whatever its last page holds there. Products in 8 bits read all keys to scale them, and
    /// give no `lse`. A query sees the last `window` keys up to its own, or all
    /// of them; pages that lie before the windows of all queries are not read.
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
        match self {
            Self::Sm80(attend) => attend.launch(q, kv, batch, o, lse, window),
            Self::Sm90(attend) => attend.launch(q, kv, batch, o, lse, window),
        }
    }

    /// Queries of a tile of a plan.
    pub fn plan_block_m(&self) -> usize {
        match self {
            Self::Sm80(attend) => attend.plan_block_m(),
            Self::Sm90(attend) => attend.plan_block_m(),
        }
    }

    /// Attends what `plan` says for all queries of `batch`, whatever the batch's own tiles are; operands as for
    /// [`launch`](Self::launch). Blocks that no tile lists are not read.
    ///
    /// # Errors
    /// When the plan was made for other queries or tiles, the shapes do not belong together, or the driver refuses.
    pub fn launch_plan(
        &self,
        q: &Buffer<bf16>,
        kv: &KvPages,
        batch: &Batch,
        plan: &DevicePlan,
        o: &mut Buffer<bf16>,
        lse: Option<&mut Buffer<f32>>,
    ) -> Result<(), Error> {
        match self {
            Self::Sm80(attend) => attend.launch_plan(q, kv, batch, plan, o, lse),
            Self::Sm90(attend) => attend.launch_plan(q, kv, batch, plan, o, lse),
        }
    }

    /// Keys and values as the last launch rounded them, for checks; nothing in bf16.
    #[doc(hidden)]
    pub fn rounded(&self) -> Option<MutexGuard<'_, RoundedKv>> {
        match self {
            Self::Sm80(attend) => attend.rounded(),
            Self::Sm90(attend) => attend.rounded(),
        }
    }
}
