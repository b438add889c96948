//! One long prompt, answered twice.

use crate::arguments::Demo;
use crate::progress::{self, PrefillBar};
use crate::table;
use eval::EvalError;
use eval::tasks::{passkey, retrieval};
use runtime::request::{AttentionMode, Generation, Request};
use std::io::{self, Write};
use std::ops::ControlFlow;

const KEY: &str = "71432";

pub fn run(arguments: Demo) -> anyhow::Result<()> {
    let mut engine = progress::load(&arguments.model)?;
    let length = arguments.length.min(engine.config().max_context.saturating_sub(retrieval::ANSWER_TOKENS));
    let prompt = engine.encode(&passkey::prompt(&engine, length, 0.4, KEY)?)?;
    let mut out = io::stdout();
    writeln!(out, "{} on {}", engine.model_name(), engine.device_name())?;
    writeln!(out, "A pass key, {KEY}, is hidden in a prompt of {} tokens. What is the pass key?\n", prompt.len())?;

    let mut run = |attention| -> anyhow::Result<(Generation, f64)> {
        let mut bar = PrefillBar::new(&format!("{attention} prefill"), engine.config(), prompt.len());
        let request = Request {
            max_tokens: retrieval::ANSWER_TOKENS,
            attention,
            goal: arguments.goal.goal(),
            ..Request::default()
        };
        let generation = engine.generate(&prompt, &request, &mut |event| {
            bar.hear(&event);
            ControlFlow::Continue(())
        });
        bar.clear();
        let generation = generation?;
        let ttft_ms = generation.stats.ttft_ms.ok_or(EvalError::NoToken)?;
        Ok((generation, ttft_ms))
    };
    // The first run of a process pays for cold caches and page faults; neither mode should.
    run(AttentionMode::Auto)?;
    let ((dense, dense_ms), (sparse, sparse_ms)) = (run(AttentionMode::Dense)?, run(AttentionMode::Sparse)?);

    let row = |name: &str, generation: &Generation, ttft_ms: f64| {
        vec![
            name.to_string(),
            format!("{:?}", generation.text.trim()),
            table::time(ttft_ms),
            format!("{:.2}", generation.stats.density),
            format!("{:.2}x", dense_ms / ttft_ms),
        ]
    };
    let rows = [row("dense", &dense, dense_ms), row("sparse", &sparse, sparse_ms)];
    table::print(&["attention", "answer", "time to first token", "density", "speed-up"], &rows)?;
    let same = if dense.tokens == sparse.tokens { "The same answer" } else { "NOT the same answer" };
    let saved = dense_ms - sparse_ms;
    // On a machine that is busy with other things, noise may be larger than what is saved.
    let when = if saved < 0.0 { "later" } else { "sooner" };
    writeln!(out, "\n{same}, {} {when}.", table::time(saved.abs()))?;
    Ok(())
}
