//! RULER's tasks.

use crate::arguments::EvalRuler;
use crate::exercises;
use eval::tasks::ruler::{Sources, Task};

pub fn run(arguments: EvalRuler) -> anyhow::Result<()> {
    let tasks = exercises::tasks(arguments.tasks, &Task::ALL);
    let (sources, files) = match &arguments.sources {
        Some(folder) => (Sources::read(folder, &tasks)?, Sources::files(folder, &tasks)),
        None => (Sources::default(), Vec::new()),
    };
    let missing = |task: &Task| sources.missing(*task).into_iter().map(String::from).collect();
    let (tasks, skipped) = exercises::skip(tasks, missing, "run scripts/fetch-ruler-texts DIR, then --sources DIR");
    anyhow::ensure!(!tasks.is_empty(), "no task is left: give the texts with --sources DIR");
    exercises::run(&arguments.model, &arguments.asked, tasks, skipped, sources, &files)
}
