//! The limit of a process on its addresses (`ulimit -v`), which is not one of memory but ends allocations all the same.

use std::fs;

/// Bytes that may still be mapped; `None` where there is no limit, or the system does not say. Known on Linux.
pub(super) fn left_bytes() -> Option<u64> {
    let limit = soft_limit(&fs::read_to_string("/proc/self/limits").ok()?)?;
    let mapped = mapped_bytes(&fs::read_to_string("/proc/self/status").ok()?)?;
    Some(limit.saturating_sub(mapped))
}

/// The first of the two limits in the line `Max address space`.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn mapped_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let head = "Limit                     Soft Limit           Hard Limit           Units     \n";
        let of = |line: &str| soft_limit(&format!("{head}{line}"));
        assert_eq!(
            of("Max address space         2147483648           unlimited            bytes     \n"),
            Some(2 << 30)
        );
        assert_eq!(of("Max address space         unlimited            unlimited            bytes     \n"), None);
        assert_eq!(of("Max open files            1024                 4096                 files     \n"), None);
        assert_eq!(mapped_bytes("VmPeak:\t    9000 kB\nVmSize:\t    8192 kB\n"), Some(8 << 20));
        assert_eq!(mapped_bytes("Name:\tx\n"), None);
    }
}
