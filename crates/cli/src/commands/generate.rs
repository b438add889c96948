//! Complete a prompt.

use crate::arguments::Generate;
use crate::{progress, table};
use anyhow::{Context, bail};
use runtime::chat_template::Message;
use runtime::request::{Event, Request, RunStats};
use runtime::sampling::Sampling;
use serde::Serialize;
use std::io::{self, IsTerminal, Read, Write};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(flatten)]
    stats: &'a RunStats,
    attention: runtime::request::AttentionMode,
    device: &'a str,
    model: &'a str,
}

pub fn run(arguments: Generate) -> anyhow::Result<()> {
    let prompt = read_prompt(&arguments)?;
    let mut engine = progress::load(&arguments.model)?;
    let prompt = if arguments.chat { engine.render_chat(&[Message::user(prompt)])? } else { prompt };
    let ids = engine.encode(&prompt)?;
    let sampling = match arguments.temperature {
        0.0 => Sampling::Greedy,
        temperature => {
            Sampling::Random { temperature, top_k: arguments.top_k, top_p: arguments.top_p, seed: arguments.seed }
        }
    };
    let request = Request {
        max_tokens: arguments.max_tokens,
        attention: arguments.attention,
        recall: arguments.recall,
        sampling,
        stop_at_eos: true,
    };

    let bar = progress::bar("prefill", ids.len() as u64);
    let mut written = Ok(());
    let generation = engine.generate(&ids, &request, &mut |event| match event {
        Event::Prefill { done_tokens, total_tokens } => {
            bar.set_position(done_tokens as u64);
            if done_tokens == total_tokens {
                bar.finish_and_clear();
            }
        }
        Event::Text(text) if !arguments.json && written.is_ok() => {
            let mut out = io::stdout().lock();
            written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        Event::Text(_) => {}
    })?;
    written?;

    let stats = &generation.stats;
    if arguments.json {
        let answer = Answer {
            text: &generation.text,
            stats,
            attention: arguments.attention,
            device: engine.device_name(),
            model: engine.model_name(),
        };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(io::stdout())?;
        eprintln!("{}", summary(stats, engine.device_name()));
    }
    Ok(())
}

fn summary(stats: &RunStats, device: &str) -> String {
    format!(
        "{} prompt tokens, first token after {}, density {:.2}, recall {:.2}; {} new tokens at {:.1}/s; {}; {}",
        stats.prompt_tokens,
        table::time(stats.ttft_ms),
        stats.density,
        stats.recall,
        stats.generated_tokens,
        stats.decode_tokens_per_s,
        runtime::memory::Bytes(stats.peak_memory_bytes),
        device,
    )
}

fn read_prompt(arguments: &Generate) -> anyhow::Result<String> {
    let (bytes, source) = match (&arguments.prompt, &arguments.prompt_file) {
        (Some(prompt), _) => (prompt.clone().into_bytes(), "--prompt".to_string()),
        (None, Some(path)) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read the prompt file {}", path.display()))?;
            (bytes, path.display().to_string())
        }
        (None, None) => {
            if io::stdin().is_terminal() {
                eprintln!("Type the prompt, then Ctrl-D:");
            }
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).context("cannot read the prompt from standard input")?;
            (bytes, "standard input".to_string())
        }
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!(
            "the prompt from {source} is not UTF-8 at byte {at}: convert it, for example with `iconv -f latin1 -t utf-8`"
        )
    })?;
    // Editors and `echo` end a file with a newline, which would change how a plain completion goes on.
    let without_newline = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
    let prompt = match (&arguments.prompt, without_newline) {
        (None, Some(prompt)) => prompt.to_string(),
        _ => text,
    };
    if prompt.is_empty() {
        bail!("the prompt from {source} is empty: give some text with --prompt, --prompt-file or on standard input");
    }
    Ok(prompt)
}
