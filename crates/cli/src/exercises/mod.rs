//! What `eval ruler` and `eval everyday` do alike: ask, print and keep.

mod lost;
mod print;

use crate::arguments::{ExerciseArguments, ModelArguments};
use crate::{json_file, note, progress, samples};
use eval::Completer;
use eval::results::Meta;
use eval::tasks::exercises::{Arm, Asking, Outcome, Series, Task};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Serialize)]
#[serde(bound = "")]
struct Results<'a, T: Task> {
    meta: Meta,
    asking: Asking,
    skipped: &'a [Skipped<T>],
    #[serde(flatten)]
    outcome: &'a Outcome<T>,
}

/// A task whose texts are not there.
#[derive(Serialize)]
pub struct Skipped<T> {
    task: T,
    missing: Vec<String>,
}

/// Those that were asked for, each once and in their order; all where none was.
pub fn tasks<T: Ord + Copy>(asked: Vec<T>, all: &[T]) -> Vec<T> {
    let mut tasks = if asked.is_empty() { all.to_vec() } else { asked };
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// Tasks that can be asked, and those whose texts are not there, of which it says so, and how to get them.
pub fn skip<T: Task>(tasks: Vec<T>, missing: impl Fn(&T) -> Vec<String>, remedy: &str) -> (Vec<T>, Vec<Skipped<T>>) {
    let (left, skipped): (Vec<T>, Vec<T>) = tasks.into_iter().partition(|task| missing(task).is_empty());
    let skipped: Vec<Skipped<T>> = skipped.into_iter().map(|task| Skipped { missing: missing(&task), task }).collect();
    for Skipped { task, missing } in &skipped {
        note(&format!("{task}: SKIPPED, without {}: {remedy}", missing.join(", ")));
    }
    (left, skipped)
}

/// Asks, prints, and writes what is to be written. `files` are those that the sources were read from.
pub fn run<T: Task>(
    model: &ModelArguments,
    asked: &ExerciseArguments,
    tasks: Vec<T>,
    skipped: Vec<Skipped<T>>,
    sources: T::Sources,
    files: &[PathBuf],
) -> anyhow::Result<()> {
    json_file::check(&asked.json)?;
    let plan = samples::plan(model, files, &asked.json)?;
    let mut engine = progress::load(model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), model.threads).begun(kept.began());
    let series = Series {
        tasks,
        sources,
        asking: if asked.plain || !engine.can_chat() { Asking::Plain } else { Asking::Chat },
        lengths: asked.lengths.clone(),
        samples: asked.samples,
        arms: Arm::all(&asked.attention, &asked.goals.goals()),
        seed: asked.seed,
        receipt: asked.receipt.then_some(asked.seed),
    };
    let outcome =
        progress::answers(series.answers(), print::line, |done| Ok(series.run(&mut engine, &mut kept, done)?))?;

    writeln!(io::stdout())?;
    print::table(&outcome)?;
    let prompts = match &asked.lost {
        Some(folder) => Some(lost::write(folder, &outcome, &series.exercises(&engine, &mut kept)?)?),
        None => None,
    };
    lost::print(&outcome, prompts.as_deref(), model)?;
    let results = Results { meta, asking: series.asking, skipped: &skipped, outcome: &outcome };
    json_file::write(&asked.json, &results)
}
