//! Prompts of the user's own.

use crate::arguments::EvalPrompts;
use crate::{json_file, progress, samples, table, texts};
use anyhow::Context;
use eval::results::Meta;
use eval::tasks::Match;
use eval::tasks::prompts::{self, Outcome, Prompts, Sample};
use runtime::request::Goal;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    #[serde(rename = "match")]
    matching: Match,
    goal: Goal,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

pub fn run(arguments: EvalPrompts) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let file = std::slice::from_ref(&arguments.prompts);
    let of_file = || arguments.prompts.display().to_string();
    let text: String = texts::read(file)?.into_iter().map(|(_, text)| text).collect();
    let prompts = prompts::read(&text).with_context(of_file)?;
    let plan = samples::plan(&arguments.model, file, &arguments.json)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).begun(kept.began());
    let task = Prompts {
        prompts,
        matching: arguments.matching,
        max_tokens: arguments.max_tokens,
        attention: arguments.attention.clone(),
        goal: arguments.goal.goal(),
        receipt: arguments.receipt.then_some(0),
    };
    let answers = task.prompts.len() * task.attention.len();
    let outcome =
        progress::answers(answers, line, |done| task.run(&mut engine, &mut kept, done).with_context(of_file))?;

    writeln!(io::stdout())?;
    print(&outcome)?;
    json_file::write(&arguments.json, &Results { meta, matching: task.matching, goal: task.goal, outcome: &outcome })
}

fn line(sample: &Sample) -> String {
    let right = match sample.right {
        Some(true) => "right",
        Some(false) => "WRONG",
        None => "     ",
    };
    format!(
        "line {:<4} {:>6} tokens {:<6} {right}  {:?}  density {:.3}{}  {}",
        sample.line,
        sample.prompt_tokens,
        sample.attention,
        sample.answer.trim(),
        sample.density,
        sample.kept.map_or_else(String::new, |kept| format!("  {}", table::kept(&kept))),
        table::time(sample.ttft_ms),
    )
}

fn print(outcome: &Outcome) -> io::Result<()> {
    let cells: Vec<Vec<String>> = (outcome.rows.iter())
        .map(|row| {
            let beside = outcome.agreement.iter().find(|a| a.attention == row.attention);
            vec![
                row.attention.to_string(),
                row.score.map_or("".into(), |score| format!("{score:.2}")),
                row.n.to_string(),
                row.ci95.map_or("".into(), |[low, high]| format!("{low:.2} .. {high:.2}")),
                beside.map_or("".into(), |a| {
                    format!("{:.2} of {} ({:.2} .. {:.2})", a.agreement, a.n, a.ci95[0], a.ci95[1])
                }),
                beside.map_or("".into(), |a| format!("-{} +{} (p {:.2})", a.lost, a.won, a.p_value)),
                format!("{:.3}", row.density),
                table::time(row.ttft_ms),
            ]
        })
        .collect();
    table::print(&["attention", "score", "n", "95% interval", "as dense", "lost, won", "density", "TTFT"], &cells)
}
