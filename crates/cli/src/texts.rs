//! Text files that tasks cut their prompts from.

use anyhow::Context;
use std::path::PathBuf;

/// Name (the file's, without its ending) and content of each file.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let text = String::from_utf8(bytes).ok().with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok((name, text))
    };
    paths.iter().map(read).collect()
}
