//! Complete a prompt.

use crate::arguments::Generate;
use crate::interruption::Interruption;
use crate::progress::{self, PrefillBar};
use crate::prompt::{self, Prompt};
use crate::ran::Ran;
use crate::summary::summary;
use anyhow::Context;
use attention::static_patterns::StaticPatterns;
use runtime::chat_template::Message;
use runtime::constraint::Constraint;
use runtime::model_files::ModelFiles;
use runtime::policy::AttentionPolicy;
use runtime::request::{Event, FinishReason, Goal, Request, RunStats};
use serde::Serialize;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(flatten)]
    stats: &'a RunStats,
    finish_reason: FinishReason,
    /// What was asked for.
    attention: runtime::request::AttentionMode,
    /// Aimed at, where sparse attention ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    #[serde(flatten)]
    ran: Ran,
    /// `predicted_memory_bytes` by its first name, which scripts know.
    peak_memory_bytes: u64,
    device: &'a str,
    model: &'a str,
    /// A GGUF file, or a folder.
    model_files: Option<&'a ModelFiles>,
}

pub fn run(arguments: Generate) -> anyhow::Result<()> {
    let prompt = read_prompt(&arguments)?;
    let patterns = arguments.patterns.as_deref().map(read_patterns).transpose()?;
    let schema = arguments.json_schema.as_deref().map(read_schema).transpose()?;
    let mut engine = progress::load(&arguments.model)?;
    if let Some(patterns) = &patterns {
        let config = engine.config();
        patterns.check_model(config.num_layers, config.num_q_heads)?;
    }
    let ids = match &prompt {
        Prompt::Chat(messages) => engine.encode_chat(messages)?,
        Prompt::Text(text) => engine.encode(text)?,
    };
    let room = engine.room_for_new_tokens(ids.len());
    // A prompt that leaves none is refused by the engine, which says why.
    let max_tokens = arguments.max_tokens.unwrap_or_else(|| Request::default().max_tokens.min(room).max(1));
    let request = Request {
        max_tokens,
        attention: arguments.attention,
        goal: arguments.goal.goal(),
        guarantee: arguments.guarantee,
        receipt: arguments.receipt.then_some(arguments.sampling.seed),
        sampling: arguments.sampling.sampling(),
        repetition_penalty: arguments.sampling.repetition_penalty,
        stop_at_eos: !arguments.ignore_eos,
        stop: arguments.stop,
        constraint: schema.map(|schema| engine.constrain(&schema)).transpose()?,
        ..Request::default()
    };

    let interruption = Interruption::listen().context("cannot listen for signals")?;
    let mut bar = PrefillBar::new("prefill", engine.config(), ids.len());
    let mut written = Ok(());
    let mut on_event = |event: Event| {
        bar.hear(&event);
        match event {
            Event::Text(text) if !arguments.json => {
                let mut out = io::stdout().lock();
                written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
            Event::Text(_) | Event::Chosen(_) | Event::Token(_) | Event::Layer { .. } | Event::Prefill { .. } => {}
        }
        // Nobody reads on, or nobody wants more.
        match written.is_err() || interruption.came().is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let generation = match &patterns {
        Some(patterns) => engine.generate_with(&ids, &request, AttentionPolicy::Fixed(patterns), &mut on_event)?,
        None => engine.generate(&ids, &request, &mut on_event)?,
    };
    bar.clear();
    written?;

    let stats = &generation.stats;
    let ran = match &patterns {
        Some(_) => Ran::patterns(),
        None => Ran::of(arguments.attention, stats),
    };
    let goal = ran.is_sparse().then_some(request.goal);
    let context_is_full = arguments.max_tokens.is_none() && stats.generated_tokens == room;
    if arguments.json {
        let answer = Answer {
            text: &generation.text,
            stats,
            finish_reason: generation.finish_reason,
            attention: arguments.attention,
            goal,
            ran,
            peak_memory_bytes: stats.predicted_memory_bytes,
            device: engine.device_name(),
            model: engine.model_name(),
            model_files: engine.model_files(),
        };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(io::stdout())?;
        crate::note(&summary(stats, &ran.to_string(), goal, generation.finish_reason, engine.device_name()));
    }
    if context_is_full {
        let context = engine.config().max_context;
        crate::note(&format!("the answer ends because the model's context of {context} tokens is full"));
    }
    interruption.came().map_or(Ok(()), |interrupted| Err(interrupted.into()))
}

fn read_prompt(arguments: &Generate) -> anyhow::Result<Prompt> {
    if let Some(file) = &arguments.messages {
        return Ok(Prompt::Chat(prompt::messages(file)?));
    }
    let text = prompt::read(arguments.prompt.as_deref(), arguments.prompt_file.as_deref())?;
    let system = arguments.system.iter().map(Message::system);
    Ok(match arguments.chat {
        true => Prompt::Chat(system.chain([Message::user(text)]).collect()),
        false => Prompt::Text(text),
    })
}

fn read_schema(path: &Path) -> anyhow::Result<Constraint> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let schema = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    Ok(Constraint::JsonSchema(schema))
}

fn read_patterns(path: &Path) -> anyhow::Result<StaticPatterns> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    StaticPatterns::from_json(&text).with_context(|| format!("cannot use the patterns of {}", path.display()))
}
