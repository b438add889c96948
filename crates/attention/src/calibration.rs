//! The terms of the cost model, measured on a machine and kept in a file.
//!
//! ```json
//! {"format": "sparse-accelerate calibration", "version": 2, "crate_version": "0.1.0",
//!  "cpu": {"device": "Example CPU", "simd": "amx-bf16", "threads": 2, "date": "2026-01-31T12:00:00Z", "entries": [
//!   {"head_dim": 64, "step_us": 1.7, "gathered_step": 1.05, "gather_key": 0.06, "gather_centre": 0.3, "tile": 0.5,
//!    "score_block": 0.02, "probe_block": 0.3, "choose_block": 1.0, "search_head": 0.0}]},
//!  "gpus": [
//!   {"device": "Example GPU", "capability": [9, 0], "driver_version": 13000, "kernel": "attend_sm90", "block_m": 128,
//!    "heads": [32, 8], "date": "2026-01-31T12:00:00Z", "costs": {"head_dim": 128, "step_us": 0.006, ...}}]}
//! ```
//!
//! Costs hold for one device, one instruction set or kernel, the kernels of one version and one head size, so for any other the
//! file is refused rather than believed. What is policy and no measurement ([`CostModel::margin`], [`CostModel::far_share`]) is
//! not in the file.
//!
//! Version 1, which is still read, had the fields of `cpu` beside `crate_version`, and no `search_head`.

mod entry;
mod gpu;
#[cfg(test)]
mod tests;

pub use gpu::GpuKernel;

use crate::search::{CostModel, calibrate};
use crate::simd::Simd;
use crate::{Error, file_version, threads};
use entry::Entry;
use gpu::OfGpu;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "sparse-accelerate calibration";
const VERSION: u32 = 2;
/// The last version that knew CPUs only.
const VERSION_OF_CPUS: u32 = 1;

/// What was measured on a CPU, on GPUs, or on both. One that was read has been checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    format: String,
    version: u32,
    /// Kernels change with the crate.
    crate_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<OfCpu>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<OfGpu>,
}

/// What [`calibrate`] found for some head sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCpu {
    device: String,
    simd: String,
    threads: usize,
    date: String,
    entries: Vec<Entry>,
}

/// The file before there were GPUs in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version1 {
    format: String,
    #[serde(rename = "version")]
    _version: u32,
    crate_version: String,
    device: String,
    simd: String,
    threads: usize,
    date: String,
    entries: Vec<Entry>,
}

impl From<Version1> for Calibration {
    fn from(old: Version1) -> Self {
        let Version1 { format, crate_version, device, simd, threads, date, entries, .. } = old;
        let cpu = Some(OfCpu { device, simd, threads, date, entries });
        Self { format, version: VERSION, crate_version, cpu, gpus: Vec::new() }
    }
}

impl Calibration {
    /// Measures this machine, which is called `device` today, `date`. `threads` as many as will work, 0 one for each core.
    ///
    /// # Errors
    /// When a head size cannot be, threads cannot be started, or the machine is too busy.
    pub fn measure(simd: Simd, threads: usize, head_dims: &[usize], device: &str, date: &str) -> Result<Self, Error> {
        let pool = threads::pool(threads)?;
        let mut head_dims = head_dims.to_vec();
        head_dims.sort_unstable();
        head_dims.dedup();
        let measure = |head_dim: usize| Ok(Entry::new(head_dim, &calibrate(simd, head_dim)?));
        let cpu = OfCpu {
            device: device.into(),
            simd: simd.name().into(),
            threads: pool.current_num_threads(),
            date: date.into(),
            entries: pool.install(|| head_dims.into_iter().map(measure).collect::<Result<_, Error>>())?,
        };
        Ok(Self { cpu: Some(cpu), ..Self::empty() })
    }

    /// What somebody measured of kernels of GPUs, `date`.
    ///
    /// # Errors
    /// When these are costs that no machine has, or one kernel has two.
    pub fn of_gpus(measured: impl IntoIterator<Item = (GpuKernel, CostModel)>, date: &str) -> Result<Self, Error> {
        let gpus = measured.into_iter().map(|(kernel, costs)| OfGpu::new(kernel, date, &costs)).collect();
        let calibration = Self { gpus, ..Self::empty() };
        calibration.check()?;
        Ok(calibration)
    }

    fn empty() -> Self {
        let crate_version = env!("CARGO_PKG_VERSION").into();
        Self { format: FORMAT.into(), version: VERSION, crate_version, cpu: None, gpus: Vec::new() }
    }

    /// Reads a calibration file.
    ///
    /// # Errors
    /// When the text is none, was written by another version, or holds costs that no machine has.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let stale = |message: String| Error::Calibration(message);
        let broken = |error: serde_json::Error| Error::Calibration(error.to_string());
        /// What every version of the file has.
        #[derive(Deserialize)]
        struct Header {
            format: String,
            version: u32,
        }
        let header: Header = serde_json::from_str(text).map_err(broken)?;
        let versions = VERSION_OF_CPUS..=VERSION;
        file_version::check_any(&header.format, header.version, FORMAT, versions).map_err(|error| match error {
            Error::File { message, .. } => stale(message),
            other => other,
        })?;
        let read: Self = match header.version {
            VERSION_OF_CPUS => serde_json::from_str::<Version1>(text).map_err(broken)?.into(),
            _ => serde_json::from_str(text).map_err(broken)?,
        };
        let own_version = env!("CARGO_PKG_VERSION");
        if read.crate_version != own_version {
            let found = Error::excerpt(&read.crate_version);
            return Err(stale(format!(
                "measured by version {found:?}, this is {own_version}, whose kernels may differ"
            )));
        }
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), Error> {
        let entries = self.cpu.iter().flat_map(|cpu| &cpu.entries);
        let head_dims: Vec<usize> = entries.clone().map(|entry| entry.head_dim).collect();
        if let Some(n) = (1..head_dims.len()).find(|n| head_dims[..*n].contains(&head_dims[*n])) {
            return Err(Error::Calibration(format!("head_dim {} is listed twice", head_dims[n])));
        }
        if let Some(n) = (1..self.gpus.len()).find(|n| self.gpus[..*n].iter().any(|gpu| gpu.replaces(&self.gpus[*n]))) {
            let device = Error::excerpt(&self.gpus[n].kernel().device);
            return Err(Error::GpuCalibration(format!("the same heads of {device:?} are listed twice")));
        }
        self.gpus.iter().try_for_each(OfGpu::check)?;
        entries.map(Entry::costs).try_for_each(|costs| costs.check())
    }

    /// Keeps what `older` has of other devices.
    #[must_use]
    pub fn or(mut self, older: Self) -> Self {
        self.cpu = self.cpu.or(older.cpu);
        for gpu in older.gpus {
            if !self.gpus.iter().any(|newer| newer.replaces(&gpu)) {
                self.gpus.push(gpu);
            }
        }
        self
    }

    /// The cost model of heads of `head_dim` elements on a CPU.
    ///
    /// # Errors
    /// When another device, another instruction set or only other head sizes were measured.
    pub fn costs(&self, device: &str, simd: Simd, head_dim: usize) -> Result<CostModel, Error> {
        let cpu = self.cpu_checked(device, simd)?;
        let entry = cpu.entries.iter().find(|entry| entry.head_dim == head_dim);
        entry.map(Entry::costs).ok_or_else(|| {
            let measured = cpu.entries.iter().map(|entry| entry.head_dim.to_string()).collect::<Vec<_>>().join(", ");
            let message = format!("head_dim {head_dim} was not measured (only {})", Error::excerpt(&measured));
            Error::Calibration(message)
        })
    }

    /// The cost model of a kernel of a GPU; of as many heads where they were measured, else of others of the same size.
    ///
    /// # Errors
    /// When another device, another driver, another kernel or only other head sizes were measured.
    pub fn gpu_costs(&self, kernel: &GpuKernel) -> Result<CostModel, Error> {
        gpu::costs(&self.gpus, kernel)
    }

    /// # Errors
    /// When no CPU was measured, or another one, or another instruction set.
    pub fn check_device(&self, device: &str, simd: Simd) -> Result<(), Error> {
        self.cpu_checked(device, simd).map(drop)
    }

    fn cpu_checked(&self, device: &str, simd: Simd) -> Result<&OfCpu, Error> {
        let nothing = || Error::Calibration("holds costs of GPUs and of no CPU".into());
        let cpu = self.cpu.as_ref().ok_or_else(nothing)?;
        for (what, measured, here) in
            [("device", cpu.device.as_str(), device), ("instruction set", cpu.simd.as_str(), simd.name())]
        {
            if measured != here {
                let measured = Error::excerpt(measured);
                return Err(Error::Calibration(format!("measured on {what} {measured:?}, this is {here:?}")));
            }
        }
        Ok(cpu)
    }

    /// Every head size measured on the CPU, with its costs.
    pub fn entries(&self) -> impl Iterator<Item = (usize, CostModel)> {
        self.cpu.iter().flat_map(|cpu| &cpu.entries).map(|entry| (entry.head_dim, entry.costs()))
    }

    /// Every kernel measured on GPUs, with its costs.
    pub fn gpu_entries(&self) -> impl Iterator<Item = (&GpuKernel, CostModel)> {
        self.gpus.iter().map(|gpu| (gpu.kernel(), gpu.costs()))
    }

    /// Instruction set measured; none where no CPU was.
    pub fn simd(&self) -> Option<&str> {
        self.cpu.as_ref().map(|cpu| cpu.simd.as_str())
    }

    /// Threads that worked; none where no CPU was measured.
    pub fn threads(&self) -> Option<usize> {
        self.cpu.as_ref().map(|cpu| cpu.threads)
    }
}
