//! Tasks of finding numbers in long texts.

use crate::arguments::EvalRetrieval;
use crate::{json_file, progress, samples, table};
use eval::results::Meta;
use eval::tasks::retrieval::{Outcome, Retrieval, Sample, Task};
use runtime::request::Goal;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    task: Task,
    goal: Goal,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

pub fn run(task: Task, arguments: EvalRetrieval) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let plan = samples::plan(&arguments.model, &[], &arguments.json)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).begun(kept.began());
    let task = Retrieval {
        task,
        lengths: arguments.lengths,
        samples: arguments.samples,
        attention: arguments.attention,
        goal: arguments.goal.goal(),
        receipt: arguments.receipt.then_some(arguments.seed),
        seed: arguments.seed,
    };
    let answers = task.lengths.len() * task.samples * task.attention.len();
    let outcome = progress::answers(answers, line, |done| Ok(task.run(&mut engine, &mut kept, done)?))?;

    writeln!(io::stdout())?;
    print(&outcome)?;
    json_file::write(&arguments.json, &Results { meta, task: task.task, goal: task.goal, outcome: &outcome })?;
    Ok(())
}

fn line(sample: &Sample) -> String {
    format!(
        "{:>6} {:<6} depth {:.2}  key {}  {}  {:?}  density {:.3}{}  {}",
        sample.length,
        sample.attention,
        sample.depth,
        sample.key,
        if sample.right { "right" } else { "WRONG" },
        sample.answer.trim(),
        sample.density,
        sample.kept.map_or_else(String::new, |kept| format!("  {}", table::kept(&kept))),
        table::time(sample.ttft_ms),
    )
}

fn print(outcome: &Outcome) -> io::Result<()> {
    let cells: Vec<Vec<String>> = outcome
        .rows
        .iter()
        .map(|row| {
            let same = outcome.agreement.iter().find(|a| a.length == row.length && a.attention == row.attention);
            vec![
                row.length.to_string(),
                row.attention.to_string(),
                format!("{:.2}", row.score),
                row.n.to_string(),
                format!("{:.2} .. {:.2}", row.ci95[0], row.ci95[1]),
                same.map_or("".into(), |a| format!("{:.2}", a.agreement)),
                same.map_or("".into(), |a| format!("-{} +{} (p {:.2})", a.lost, a.won, a.p_value)),
                format!("{:.3}", row.density),
                table::time(row.ttft_ms),
            ]
        })
        .collect();
    table::print(
        &["length", "attention", "score", "n", "95% interval", "as dense", "lost, won", "density", "TTFT"],
        &cells,
    )
}
