//! What this machine offers.

use crate::arguments::Doctor;
use attention::simd::Simd;
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
    gpu_backend: &'static str,
    nvidia_driver: Option<String>,
    libraries: Vec<Library>,
    default_model: Option<PathBuf>,
}

#[derive(Serialize)]
struct Library {
    name: &'static str,
    found: Option<PathBuf>,
    needed_for: &'static str,
    get: &'static str,
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
            gpu_backend: "not in this version",
            nvidia_driver: driver.and_then(|text| text.lines().next().map(str::to_owned)),
            libraries: vec![
                Library {
                    name: "libcuda.so.1",
                    found: find_library("libcuda.so.1"),
                    needed_for: "the GPU backend (coming)",
                    get: "install the NVIDIA driver",
                },
                Library {
                    name: "libcublasLt.so",
                    found: find_library("libcublasLt.so"),
                    needed_for: "the GPU backend (coming)",
                    get: "pip install nvidia-cublas, or install the CUDA toolkit",
                },
            ],
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
        writeln!(out, "GPU backend   {}; this version computes on the CPU", self.gpu_backend)?;
        writeln!(out, "NVIDIA driver {}", self.nvidia_driver.as_deref().unwrap_or("none found"))?;
        for library in &self.libraries {
            match &library.found {
                Some(path) => writeln!(out, "{:<13} {}", library.name, path.display())?,
                None => writeln!(out, "{:<13} missing, for {}: {}", library.name, library.needed_for, library.get)?,
            }
        }
        match &self.default_model {
            Some(path) => writeln!(out, "default model {}", path.display()),
            None => writeln!(out, "default model missing here: run scripts/fetch-model in the project folder"),
        }
    }
}

/// Looks where the dynamic loader would: `LD_LIBRARY_PATH`, then the usual folders.
fn find_library(name: &str) -> Option<PathBuf> {
    let configured = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/cuda/lib64", "/usr/lib/wsl/lib"];
    let folders = std::env::split_paths(&configured).chain(usual.iter().map(PathBuf::from));
    folders.filter(|folder| !folder.as_os_str().is_empty()).find_map(|folder| {
        let entries = std::fs::read_dir(&folder).ok()?;
        let names = entries.flatten().map(|entry| entry.path());
        names.into_iter().find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
    })
}
