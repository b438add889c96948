//! Where a prompt comes from.

use crate::encoding;
use anyhow::{Context, anyhow, bail};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// The prompt of `--prompt`, else of `--prompt-file`, else of standard input; never empty.
pub fn read(prompt: Option<&str>, prompt_file: Option<&Path>) -> anyhow::Result<String> {
    let (bytes, source) = match (prompt, prompt_file) {
        (Some(prompt), _) => (prompt.as_bytes().to_vec(), "--prompt".to_string()),
        (None, Some(path)) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read the prompt file {}", path.display()))?;
            (bytes, path.display().to_string())
        }
        (None, None) => {
            if io::stdin().is_terminal() {
                crate::note("Type the prompt, then Ctrl-D:");
            }
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).context("cannot read the prompt from standard input")?;
            (bytes, "standard input".to_string())
        }
    };
    let text = encoding::text_of(bytes).map_err(|problem| anyhow!("the prompt from {source} {problem}"))?;
    // Editors and `echo` end a file with a newline, which would change how a plain completion goes on.
    let without_newline = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
    let prompt = match (prompt, without_newline) {
        (None, Some(prompt)) => prompt.to_string(),
        _ => text,
    };
    if prompt.is_empty() {
        bail!("the prompt from {source} is empty: give some text with --prompt, --prompt-file or on standard input");
    }
    Ok(prompt)
}
