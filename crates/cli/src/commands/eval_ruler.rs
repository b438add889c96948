//! RULER's tasks.

use crate::arguments::EvalRuler;
use crate::{json_file, note, progress, samples, table};
use eval::Completer;
use eval::results::Meta;
use eval::tasks::ruler::{Asking, Outcome, Ruler, Sample, Sources, Task};
use runtime::request::Goal;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    asking: Asking,
    skipped: &'a [Skipped],
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// A task whose texts are not there.
#[derive(Serialize)]
struct Skipped {
    task: Task,
    missing: Vec<&'static str>,
}

pub fn run(arguments: EvalRuler) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let mut tasks = if arguments.tasks.is_empty() { Task::ALL.to_vec() } else { arguments.tasks };
    tasks.sort_unstable();
    tasks.dedup();
    let (sources, files) = match &arguments.sources {
        Some(folder) => (Sources::read(folder, &tasks)?, Sources::files(folder, &tasks)),
        None => (Sources::default(), Vec::new()),
    };
    let skipped = skip(&mut tasks, &sources);
    anyhow::ensure!(!tasks.is_empty(), "no task is left: give the texts with --sources DIR");
    let plan = samples::plan(&arguments.model, &files, &arguments.json)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).of_samples(&kept);
    let task = Ruler {
        tasks,
        sources,
        asking: if arguments.plain || !engine.can_chat() { Asking::Plain } else { Asking::Chat },
        lengths: arguments.lengths,
        samples: arguments.samples,
        attention: arguments.attention,
        goal: arguments.goal.goal(),
        seed: arguments.seed,
        receipt: arguments.receipt.then_some(arguments.seed),
    };
    let outcome = progress::answers(task.answers(), line, |done| Ok(task.run(&mut engine, &mut kept, done)?))?;

    writeln!(io::stdout())?;
    print(&outcome)?;
    let results = Results { meta, goal: task.goal, asking: task.asking, skipped: &skipped, outcome: &outcome };
    json_file::write(&arguments.json, &results)
}

/// Takes out the tasks whose texts are not there, and says so.
fn skip(tasks: &mut Vec<Task>, sources: &Sources) -> Vec<Skipped> {
    let skipped: Vec<Skipped> = (tasks.iter())
        .map(|&task| Skipped { task, missing: sources.missing(task) })
        .filter(|skipped| !skipped.missing.is_empty())
        .collect();
    for Skipped { task, missing } in &skipped {
        note(&format!(
            "{task}: SKIPPED, without {}: run scripts/fetch-ruler-texts DIR, then --sources DIR",
            missing.join(", ")
        ));
    }
    tasks.retain(|task| skipped.iter().all(|skipped| skipped.task != *task));
    skipped
}

fn line(sample: &Sample) -> String {
    format!(
        "{:<15} {:>6} {:>3} {:<6} {:>2} of {:<2}  {:?}  density {:.3}{}  {}",
        sample.task,
        sample.length,
        sample.sample,
        sample.attention,
        sample.found,
        sample.of,
        sample.answer.trim(),
        sample.density,
        sample.kept.map_or_else(String::new, |kept| format!("  {}", table::kept(&kept))),
        table::time(sample.ttft_ms),
    )
}

fn print(outcome: &Outcome) -> io::Result<()> {
    let cells: Vec<Vec<String>> = (outcome.rows.iter())
        .map(|row| {
            let beside = outcome
                .beside_dense
                .iter()
                .find(|beside| (beside.task, beside.length, beside.attention) == (row.task, row.length, row.attention));
            vec![
                row.task.to_string(),
                row.length.to_string(),
                row.attention.to_string(),
                table::estimate(&row.score, 2),
                format!("{} of {}", row.right, row.n),
                beside.map_or("".into(), |beside| table::estimate(&beside.difference, 2)),
                beside.map_or("".into(), |beside| format!("{:.2}, {:.2}", beside.p_value, beside.p_holm)),
                beside.map_or("".into(), |beside| {
                    format!("-{} +{} (p {:.2})", beside.lost, beside.won, beside.p_lost_won)
                }),
                format!("{:.3}", row.density),
                table::time(row.ttft_ms),
            ]
        })
        .collect();
    let header = [
        "task",
        "length",
        "attention",
        "score",
        "all found",
        "less dense",
        "p, by Holm",
        "lost, won",
        "density",
        "TTFT",
    ];
    table::print(&header, &cells)
}
