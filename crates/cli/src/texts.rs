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
