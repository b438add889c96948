//! Costs of the kernels of GPUs.

use super::entry::Entry;
use crate::search::CostModel;
use crate::shape::HeadShape;
use crate::{BLOCK_N, Error};
use serde::{Deserialize, Serialize};

/// A kernel of a GPU, and all that its costs depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuKernel {
    /// Product name.
    pub device: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// CUDA version of the driver, `1000 major + 10 minor`.
    pub driver_version: i32,
    /// Name of the kernel.
    pub kernel: String,
    /// Queries of a tile of its plans.
    pub block_m: usize,
    /// Heads of a layer.
    pub heads: HeadShape,
}

/// A kernel and its costs. One that was read is of heads and tiles that can be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub(super) struct OfGpu {
    kernel: GpuKernel,
    date: String,
    costs: Entry,
}

/// What the file says, unchecked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    device: String,
    capability: (u32, u32),
    driver_version: i32,
    kernel: String,
    block_m: usize,
    /// Query heads and kv heads.
    heads: (usize, usize),
    date: String,
    costs: Entry,
}

impl From<OfGpu> for Text {
    fn from(OfGpu { kernel, date, costs }: OfGpu) -> Self {
        let GpuKernel { device, capability, driver_version, kernel, block_m, heads } = kernel;
        let heads = (heads.num_q_heads(), heads.num_kv_heads());
        Self { device, capability, driver_version, kernel, block_m, heads, date, costs }
    }
}

impl TryFrom<Text> for OfGpu {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let Text { device, capability, driver_version, kernel, block_m, heads, date, costs } = text;
        if block_m == 0 || !block_m.is_multiple_of(BLOCK_N) {
            return Err(format!("tiles of {block_m} queries: expected a multiple of {BLOCK_N}"));
        }
        let heads = HeadShape::new(heads.0, heads.1, costs.head_dim).map_err(|error| error.to_string())?;
        let kernel = GpuKernel { device, capability, driver_version, kernel, block_m, heads };
        Ok(Self { kernel, date, costs })
    }
}

impl OfGpu {
    pub fn new(kernel: GpuKernel, date: &str, costs: &CostModel) -> Self {
        Self { date: date.into(), costs: Entry::new(kernel.heads.head_dim(), costs), kernel }
    }

    pub fn kernel(&self) -> &GpuKernel {
        &self.kernel
    }

    pub fn costs(&self) -> CostModel {
        self.costs.costs()
    }

    pub fn check(&self) -> Result<(), Error> {
        self.costs().check()
    }

    /// Whether both are of the same heads of the same device: one of them is out of date.
    pub fn replaces(&self, other: &Self) -> bool {
        let of = |gpu: &Self| (gpu.kernel.capability, gpu.kernel.heads);
        self.kernel.device == other.kernel.device && of(self) == of(other)
    }
}

/// The costs that hold for `here`.
pub(super) fn costs(measured: &[OfGpu], here: &GpuKernel) -> Result<CostModel, Error> {
    if measured.is_empty() {
        let message = format!("holds no costs of a GPU, this is {:?}", here.device);
        return Err(Error::GpuCalibration(message));
    }
    let version =
        |kernel: &GpuKernel| format!("{}.{}", kernel.driver_version / 1000, kernel.driver_version % 1000 / 10);
    /// What costs depend on, in words.
    type Property<'a> = (&'static str, &'a dyn Fn(&GpuKernel) -> String, &'static str);
    let properties: [Property; 6] = [
        ("device ", &|kernel| format!("{:?}", kernel.device), ""),
        ("compute capability ", &|kernel| format!("{}.{}", kernel.capability.0, kernel.capability.1), ""),
        ("a driver for CUDA ", &version, ""),
        ("head_dim ", &|kernel| kernel.heads.head_dim().to_string(), ""),
        ("kernel ", &|kernel| format!("{:?}", kernel.kernel), ""),
        ("tiles of ", &|kernel| kernel.block_m.to_string(), " queries"),
    ];
    let mut candidates: Vec<&OfGpu> = measured.iter().collect();
    for (what, of, unit) in properties {
        let mut others: Vec<String> = Vec::new();
        for other in candidates.iter().map(|gpu| of(&gpu.kernel)) {
            if !others.contains(&other) {
                others.push(other);
            }
        }
        let this = of(here);
        candidates.retain(|gpu| of(&gpu.kernel) == this);
        if candidates.is_empty() {
            let others = others.join(", ").chars().take(80).collect::<String>();
            return Err(Error::GpuCalibration(format!("measured on {what}{others}{unit}, this is {this}")));
        }
    }
    let of_these_heads = candidates.iter().find(|gpu| gpu.kernel.heads == here.heads);
    let found = of_these_heads.unwrap_or(&candidates[0]);
    let costs = found.costs();
    // Starting a search takes a time of its own, whatever the number of heads that share it.
    let share = found.kernel.heads.num_q_heads() as f64 / here.heads.num_q_heads() as f64;
    Ok(CostModel { search_head: costs.search_head * share, ..costs })
}
