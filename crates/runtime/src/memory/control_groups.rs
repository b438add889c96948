//! What the control groups of this process let it still take; cgroups(7).

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Names of one version of the memory controller.
struct Version {
    /// Where its groups are mounted.
    mounts: &'static [&'static str],
    limit: &'static str,
    used: &'static str,
    /// Pages of files in `memory.stat`, groups below included.
    file_pages: [&'static str; 2],
}

const V2: Version = Version {
    // The second where version 1 is mounted too.
    mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    limit: "memory.max",
    used: "memory.current",
    file_pages: ["inactive_file", "active_file"],
};

const V1: Version = Version {
    mounts: &["sys/fs/cgroup/memory"],
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    file_pages: ["total_inactive_file", "total_active_file"],
};

/// Bytes that the group of this process and every group above it leave, the least of them; `None` where none has a limit.
/// `root` is `/`, or a folder like it.
pub(super) fn left_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let left = |(version, path): (&'static Version, &str)| {
        let folders = version.mounts.iter().flat_map(move |mount| folders(&root.join(mount), path));
        folders.filter_map(|folder| left_in(&folder, version)).min()
    };
    groups.lines().filter_map(group).filter_map(left).min()
}

/// Version and path of a line `number:controllers:path`, if memory is the business of its groups.
fn group(line: &str) -> Option<(&'static Version, &str)> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match (number, controllers) {
        ("0", "") => Some((&V2, path)),
        _ if controllers.split(',').any(|name| name == "memory") => Some((&V1, path)),
        _ => None,
    }
}

/// The folder of a group and of all above it. A container may see its own group at the mount and be told another path: what is
/// not there says nothing when read.
fn folders(mount: &Path, path: &str) -> Vec<PathBuf> {
    let mut folders = vec![mount.to_path_buf()];
    for component in Path::new(path).components() {
        if let Component::Normal(name) = component {
            folders.push(folders[folders.len() - 1].join(name));
        }
    }
    folders
}

/// The kernel drops pages of files when a group needs the room: they count as free.
fn left_in(folder: &Path, version: &Version) -> Option<u64> {
    let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // "max", which is no limit, is no number.
    let (limit, used) = (number(version.limit)?, number(version.used)?);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    Some(limit.saturating_sub(used.saturating_sub(file_pages(&stat, version))))
}

fn file_pages(stat: &str, version: &Version) -> u64 {
    let fields = stat.lines().filter_map(|line| line.split_once(' '));
    let pages = fields.filter(|(name, _)| version.file_pages.contains(name));
    pages.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        left_bytes(root.path())
    }

    #[test]
    fn the_least_of_all_groups_up_to_the_root_with_file_pages_free() {
        let files = [
            ("proc/self/cgroup", "0::/user.slice/job.scope\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "5000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "4500\n"),
            ("sys/fs/cgroup/user.slice/memory.stat", "anon 700\nfile 3800\ninactive_file 3000\nactive_file 600\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.current", "10\n"),
            // Not ours.
            ("sys/fs/cgroup/user.slice/other.scope/memory.max", "1\n"),
            ("sys/fs/cgroup/user.slice/other.scope/memory.current", "1\n"),
        ];
        assert_eq!(left(&files), Some(5000 - 4500 + 3600));
        let own = [
            ("sys/fs/cgroup/user.slice/job.scope/memory.max", "300\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.stat", "inactive_file 4\n"),
        ];
        assert_eq!(left(&[&files[..], &own].concat()), Some(294));
        // Lowered below what is held.
        let over = [("sys/fs/cgroup/user.slice/memory.max", "100\n")];
        assert_eq!(left(&[&files[..], &over].concat()), Some(0));
    }

    #[test]
    fn version_1_and_containers_that_see_their_own_group_at_the_mount() {
        let files = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/0123\n0::/docker/0123\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "8000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\ntotal_active_file 50\n"),
        ];
        assert_eq!(left(&files), Some(1550));
        let hybrid = [
            ("sys/fs/cgroup/unified/docker/memory.max", "700"),
            ("sys/fs/cgroup/unified/docker/memory.current", "100"),
        ];
        assert_eq!(left(&[&files[..], &hybrid].concat()), Some(600));
    }

    #[test]
    fn nothing_where_nobody_limits() {
        assert_eq!(left(&[]), None);
        assert_eq!(left(&[("proc/self/cgroup", "0::/\n")]), None);
        assert_eq!(left(&[("proc/self/cgroup", "nonsense\n0::/../../a\n::\n")]), None);
        let unlimited = [
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.current", "7\n"),
        ];
        assert_eq!(left(&unlimited), None);
    }
}
