//! The machine a result was measured on.

use serde::Serialize;
use std::fs;
use std::thread;

/// What the operating system says about this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Name of the CPU, when the system tells.
    pub cpu: Option<String>,
    /// Threads that can run at once, container limits respected.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_total_bytes: Option<u64>,
    /// Memory that this process can have without swapping, its control groups respected.
    pub memory_free_bytes: Option<u64>,
    /// `linux-x86_64`.
    pub platform: String,
}

impl Machine {
    /// Name of the processor for files that hold on one machine only.
    pub fn device(&self) -> String {
        self.cpu.clone().unwrap_or_else(|| format!("unknown processor, {}", self.platform))
    }

    /// Asks the operating system. CPU name and memory are known on Linux only.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: cpu_name(&cpuinfo),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_total_bytes: memory_bytes(&meminfo, "MemTotal"),
            memory_free_bytes: runtime::memory::available_bytes(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name).map(|(_, v)| v.trim())
}

fn cpu_name(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").or_else(|| field(cpuinfo, "Hardware")).map(str::to_owned)
}

fn memory_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Example CPU @ 3.00GHz\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(cpu_name(cpuinfo).as_deref(), Some("Example CPU @ 3.00GHz"));
        let meminfo = "MemTotal:       16384 kB\nMemFree:          12 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(memory_bytes(meminfo, "MemTotal"), Some(16 << 20));
    }

    #[test]
    fn unknown_stays_unknown() {
        assert_eq!(cpu_name(""), None);
        assert_eq!(memory_bytes("MemTotal: many kB", "MemTotal"), None);
    }
}
