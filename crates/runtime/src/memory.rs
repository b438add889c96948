//! What memory there is, and what this process holds.

mod address_space;
mod control_groups;

use std::fmt;
use std::path::Path;

/// Bytes for people: `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut size = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if size < 1024.0 {
                return if unit == "B" { write!(f, "{size} B") } else { write!(f, "{size:.1} {unit}") };
            }
            size /= 1024.0;
        }
        write!(f, "{size:.1} TiB")
    }
}

/// Memory this process may still take: what the machine has available, or what its control groups or the limit on its addresses
/// (`ulimit -v`) leave if that is less; pages of files, which the kernel drops on demand, count as available in the first two. `None` where the operating system does not say.
pub fn available_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let limits = [control_groups::left_bytes(Path::new("/")), address_space::left_bytes()];
    limits.into_iter().flatten().chain([system.available_memory()]).min()
}

/// Most memory of the machine that this process held at a time, ever or since it was [forgotten](forget_peak_resident): its
/// own and pages of files it mapped, of which weights are none. Known on Linux.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Counts [`peak_resident_bytes`] anew from what the process holds now. Whether the system can: Linux does.
pub fn forget_peak_resident() -> bool {
    // "5" is to reset the peak, and nothing else; proc(5).
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let printed: Vec<String> = [0, 1023, 1024, 1 << 20, 3 << 29, 5 << 40].map(|n| Bytes(n).to_string()).to_vec();
        assert_eq!(printed, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB", "5.0 TiB"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_held_once_stays_counted_until_it_is_forgotten() {
        let held = vec![1u8; 32 << 20];
        assert!(held.iter().all(|byte| *byte == 1));
        drop(held);
        let peak = peak_resident_bytes().unwrap();
        assert!(peak > 32 << 20);
        // Kernels without page monitoring cannot.
        if forget_peak_resident() {
            assert!(peak_resident_bytes().unwrap() < peak);
        }
    }

    #[test]
    fn there_is_memory() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
