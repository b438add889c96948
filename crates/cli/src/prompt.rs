//! Where a prompt comes from.

use crate::encoding;
use anyhow::{Context, anyhow, bail, ensure};
use runtime::chat_template::Message;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// What a model goes on from.
pub enum Prompt {
    /// As it is.
    Text(String),
    /// By the model's template.
    Chat(Vec<Message>),
}

/// The messages of a JSON file, or of standard input for `-`; at least one.
///
/// # Errors
/// When there is no such file, or it holds something else.
pub fn messages(path: &Path) -> anyhow::Result<Vec<Message>> {
    const EXPECTED: &str = r#"expected a JSON array like [{"role": "user", "content": "..."}]"#;
    let (bytes, source) = match path == Path::new("-") {
        true => (standard_input()?, "standard input".to_string()),
        false => {
            let read = std::fs::read(path).with_context(|| format!("cannot read the messages of {}", path.display()));
            (read?, path.display().to_string())
        }
    };
    let text = encoding::text_of(bytes).map_err(|problem| anyhow!("the chat from {source} {problem}"))?;
    let messages: Vec<Message> =
        serde_json::from_str(&text).with_context(|| format!("the chat from {source}: {EXPECTED}"))?;
    ensure!(!messages.is_empty(), "the chat from {source} has no message: {EXPECTED}");
    Ok(messages)
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

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
            (standard_input()?, "standard input".to_string())
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
