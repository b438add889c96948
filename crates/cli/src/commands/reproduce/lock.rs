//! One run at a time in a folder.

use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Held until dropped, or until the process ends, however it does.
pub(super) struct Lock {
    _file: File,
}

/// Locks a folder.
///
/// # Errors
/// When another run holds it, or the lock cannot be written.
pub(super) fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let path = folder.join("reproduce.lock");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    // Beyond its first moments only its steps hold a model, which are processes of their own.
    let is_ours = eval::lock::lock(&file, eval::lock::WITHOUT_A_MODEL);
    let is_ours = is_ours.with_context(|| format!("cannot lock {}", path.display()))?;
    anyhow::ensure!(is_ours, "another run writes into {}: wait until it ends, or give another --out", folder.display());
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = lock(a.path()).unwrap();
        let refused = lock(a.path()).err().unwrap().to_string();
        assert!(refused.contains("another run") && refused.contains("--out"), "{refused}");
        lock(b.path()).unwrap();
        drop(first);
        lock(a.path()).unwrap();
    }

    #[test]
    fn a_lock_left_by_a_run_that_was_killed_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("reproduce.lock"), "").unwrap();
        lock(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = lock(&folder.path().join("missing")).err().unwrap();
        assert!(format!("{error:#}").contains("missing"), "{error:#}");
    }
}
