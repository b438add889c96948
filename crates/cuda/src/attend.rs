//! Causal attention, dense or by a plan, with the best kernel that a device has.

use crate::Error;
use crate::attend_sm80::AttendSm80;
use crate::attend_sm90::AttendSm90;
use crate::batch::Batch;
use crate::device::{Buffer, Device, Properties};
use crate::kv::KvPages;
use crate::plan::DevicePlan;
use attention::calibration::GpuKernel;
use attention::shape::HeadShape;
use half::bf16;

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
            return Ok(Self::Sm90(AttendSm90::new(device, heads)?));
        }
        Ok(Self::Sm80(AttendSm80::new(device, heads)?))
    }

    /// Name of the kernel, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sm80(_) => "attend_sm80",
            Self::Sm90(_) => "attend_sm90",
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
    /// a sequence are not used, whatever its last page holds there. A query sees the last `window` keys up to its own, or all
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
}
