//! Text files, and prompts.

use crate::encoding;
use anyhow::{Context, anyhow};
use std::path::PathBuf;

/// Name (the file's, without its ending) and content of each file.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let text = encoding::text_of(bytes).map_err(|problem| anyhow!("{} {problem}", path.display()))?;
        Ok((name, text))
    };
    paths.iter().map(read).collect()
}

/// Files as they are, and for each folder the files in it whose names end so, in order.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(paths: &[PathBuf], endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let cannot = || format!("cannot read the folder {}", path.display());
        let entries = std::fs::read_dir(path).with_context(cannot)?;
        let entries: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().with_context(cannot)?;
        let is_text = |path: &PathBuf| path.extension().is_some_and(|own| endings.iter().any(|ending| own == *ending));
        let mut texts: Vec<PathBuf> = entries.into_iter().filter(|path| is_text(path) && path.is_file()).collect();
        texts.sort();
        files.extend(texts);
    }
    Ok(files)
}

/// Prompts: each text file is one, each line `{"prompt": "..."}` of a `.jsonl` file is one.
pub fn prompts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    #[derive(serde::Deserialize)]
    struct Line {
        prompt: String,
    }
    let mut prompts = Vec::new();
    for path in paths {
        for (name, text) in read(std::slice::from_ref(path))? {
            if path.extension().is_none_or(|ending| ending != "jsonl") {
                prompts.push((name, text));
                continue;
            }
            for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let at = || format!("{} line {}: expected {{\"prompt\": \"...\"}}", path.display(), n + 1);
                let line: Line = serde_json::from_str(line).with_context(at)?;
                prompts.push((format!("{name}:{}", n + 1), line.prompt));
            }
        }
    }
    anyhow::ensure!(!prompts.is_empty(), "no prompt found: give text files, or .jsonl files with a prompt a line");
    Ok(prompts)
}
