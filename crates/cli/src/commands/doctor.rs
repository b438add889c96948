//! What this machine offers.

use crate::arguments::Doctor;
use attention::simd::Simd;
use cuda::device::Device;
use cuda::gemm::Gemm;
use eval::machine::Machine;
use runtime::memory::Bytes;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Report {
    version: &'static str,
    #[serde(flatten)]
    machine: Machine,
    /// Instruction sets of the CPU kernels that run here, slowest first; the last is used.
    instruction_sets: Vec<&'static str>,
    nvidia_driver: Option<String>,
    /// GPUs that run models here, or why none does.
    gpus: Result<Vec<String>, String>,
    /// Where cuBLASLt was found, or where it was looked for.
    cublas: Result<(), String>,
    default_model: Option<PathBuf>,
}

const DEFAULT_MODEL: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

pub fn run(arguments: Doctor) -> anyhow::Result<()> {
    let report = Report::read();
    let mut out = io::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(())
}

impl Report {
    fn read() -> Self {
        let driver = std::fs::read_to_string("/proc/driver/nvidia/version").ok();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::read(),
            instruction_sets: Simd::available().into_iter().map(Simd::name).collect(),
            nvidia_driver: driver.and_then(|text| text.lines().next().map(str::to_owned)),
            gpus: gpus().map_err(|error| error.to_string()),
            cublas: Gemm::find().map_err(|error| error.to_string()),
            default_model: Path::new(DEFAULT_MODEL).exists().then(|| DEFAULT_MODEL.into()),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let unknown = || "unknown".to_string();
        let bytes = |n: Option<u64>| n.map_or_else(unknown, |n| Bytes(n).to_string());
        writeln!(out, "sparse-accelerate {}", self.version)?;
        writeln!(
            out,
            "CPU           {}, {} cores",
            self.machine.cpu.as_deref().unwrap_or("unknown"),
            self.machine.cores
        )?;
        let (total, free) = (self.machine.memory_total_bytes, self.machine.memory_free_bytes);
        writeln!(out, "memory        {} free of {}", bytes(free), bytes(total))?;
        let used = self.instruction_sets.last().copied().unwrap_or("none");
        writeln!(out, "CPU kernels   {used} (available: {})", self.instruction_sets.join(", "))?;
        writeln!(out, "NVIDIA driver {}", self.nvidia_driver.as_deref().unwrap_or("none found"))?;
        match &self.gpus {
            Ok(gpus) => gpus.iter().try_for_each(|gpu| writeln!(out, "GPU           {gpu}"))?,
            Err(why) => writeln!(out, "GPU           none: {why}")?,
        }
        match &self.cublas {
            Ok(()) => writeln!(out, "cuBLASLt      found")?,
            Err(why) => writeln!(out, "cuBLASLt      {why}")?,
        }
        match &self.default_model {
            Some(path) => writeln!(out, "default model {}", path.display()),
            None => writeln!(out, "default model missing here: run scripts/fetch-model in the project folder"),
        }
    }
}

fn gpus() -> Result<Vec<String>, cuda::Error> {
    match Device::count()? {
        0 => Err(cuda::Error::NoDevice { ordinal: 0, count: 0 }),
        count => (0..count).map(|ordinal| Ok(Device::open(ordinal)?.properties().to_string())).collect(),
    }
}
