//! What users of sparse prefill report broken.

use crate::arguments::EvalEveryday;
use crate::{exercises, texts};
use eval::tasks::everyday::{Task, Texts};

pub fn run(arguments: EvalEveryday) -> anyhow::Result<()> {
    let tasks = exercises::tasks(arguments.tasks, &Task::ALL);
    let files = texts::files(&arguments.texts, &["txt", "md", "py"])?;
    let read = texts::read(&files)?;
    let is_python = |n: usize| files[n].extension().is_some_and(|ending| ending == "py");
    let sources = Texts::of(read.iter().enumerate().map(|(n, (_, text))| (text.as_str(), is_python(n))));
    let missing = |task: &Task| sources.missing(*task).into_iter().map(|what| format!("any {what}")).collect();
    let (tasks, skipped) = exercises::skip(tasks, missing, "give texts with --texts FILE,..");
    anyhow::ensure!(!tasks.is_empty(), "no task is left: give texts with --texts FILE,..");
    exercises::run(&arguments.model, &arguments.asked, tasks, skipped, sources, &files)
}
