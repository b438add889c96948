//! Files that results go to, like `--json FILE`: refused before the work when they cannot be written, written whole after it.

use anyhow::Context;
use eval::results;
use serde::Serialize;
use std::path::PathBuf;

/// Whether the file, if one was asked for, can be written.
pub fn check(path: &Option<PathBuf>) -> anyhow::Result<()> {
    path.as_ref().map_or(Ok(()), |path| {
        results::check_writable(path).with_context(|| format!("cannot write {}", path.display()))
    })
}

/// Writes the file, if one was asked for.
pub fn write(path: &Option<PathBuf>, value: &impl Serialize) -> anyhow::Result<()> {
    path.as_ref()
        .map_or(Ok(()), |path| results::write(path, value).with_context(|| format!("cannot write {}", path.display())))
}

/// Writes a page, if one was asked for.
pub fn write_text(path: &Option<PathBuf>, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    path.as_ref().map_or(Ok(()), |path| {
        results::write_text(path, &text()).with_context(|| format!("cannot write {}", path.display()))
    })
}
