//! All experiments, one command after the other, and a report of what they found.

mod lock;
mod steps;

use crate::arguments::Reproduce;
use crate::child;
use anyhow::Context;
use eval::origin::Origin;
use eval::reproduction::{self, Report, Reproduction, Step};
use eval::results;
use runtime::engine::{Engine, EngineOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub fn run(arguments: Reproduce) -> anyhow::Result<()> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let _lock = lock::lock(out)?;
    let Model { name: model, context, device } = look_at(&arguments)?;
    let look = || Origin::read(&arguments.model, &arguments.texts).map(|origin| origin.on(&device));
    let origin = look()?;
    let planned = steps::plan(&arguments, context)?;
    let steps = resume(out, planned.iter().map(|planned| planned.step.clone()), &origin)?;
    let mut progress = Reproduction { model, goal: arguments.goal.to_string(), origin, steps };
    // What is measured from here on is of this origin, and nothing else counts as done.
    save(out, &progress)?;
    let count = progress.steps.len();
    let (mut spent, mut weight_done) = (0.0, 0.0);
    for n in 0..count {
        let left: f64 = (n..count).filter(|n| progress.steps[*n].seconds.is_none()).map(|n| planned[n].weight).sum();
        let step = &progress.steps[n];
        if step.seconds.is_some() {
            say(&format!("[{}/{count}] {}: done before", n + 1, step.name))?;
            continue;
        }
        // What was done in this run says how long a unit of weight takes here.
        let forecast = if weight_done > 0.0 { about(left * spent / weight_done) } else { String::new() };
        say(&format!("[{}/{count}] {}{forecast}", n + 1, step.name))?;
        let started = Instant::now();
        execute(step)?;
        let seconds = started.elapsed().as_secs_f64();
        if let Some(what) = look()?.changed_since(&progress.origin) {
            anyhow::bail!("{what} changed while the step `{}` ran, so it says nothing: start again", step.name);
        }
        (spent, weight_done) = (spent + seconds, weight_done + planned[n].weight);
        progress.steps[n].seconds = Some(seconds);
        save(out, &progress)?;
        say("")?;
    }
    save(out, &progress)?;
    say(&format!("The report is in {}, its numbers are beside it.", out.join("index.html").display()))
}

struct Model {
    name: String,
    /// The longest prompt it takes, in tokens.
    context: usize,
    /// Name of the device it is on.
    device: String,
}

fn look_at(arguments: &Reproduce) -> anyhow::Result<Model> {
    let options = EngineOptions { device: arguments.device, threads: arguments.threads, ..EngineOptions::default() };
    let engine = Engine::load(&arguments.model, &options, &mut |_| {})
        .with_context(|| format!("cannot load the model `{}`", arguments.model))?;
    Ok(Model {
        name: engine.model_name().to_owned(),
        context: engine.config().max_context,
        device: engine.device_name().to_owned(),
    })
}

fn progress_file(out: &Path) -> PathBuf {
    out.join(Reproduction::FILE)
}

/// The steps, those of an earlier run of the same origin with the same command and a result file as done.
fn resume(out: &Path, steps: impl Iterator<Item = Step>, origin: &Origin) -> anyhow::Result<Vec<Step>> {
    let path = progress_file(out);
    let earlier = match std::fs::read_to_string(&path) {
        Ok(text) => {
            let progress: Reproduction = serde_json::from_str(&text).with_context(|| {
                format!("{} is not of a reproduction: give another --out, or delete it", path.display())
            })?;
            match origin.changed_since(&progress.origin) {
                Some(what) if progress.steps.iter().any(|step| step.seconds.is_some()) => {
                    say(&format!("{what} is not that of the results in {}: all is measured anew", out.display()))?;
                    Vec::new()
                }
                Some(_) => Vec::new(),
                None => progress.steps,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let seconds = |step: &Step| {
        let before = earlier.iter().find(|before| before.name == step.name && before.command == step.command)?;
        before.seconds.filter(|_| out.join(step.file()).is_file())
    };
    Ok(steps.map(|step| Step { seconds: seconds(&step), ..step }).collect())
}

/// Runs a step as a program of its own, so that the report's command is what ran, and memory is that of the step alone.
fn execute(step: &Step) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let status = child::run(Command::new(program).args(&step.command)).context("cannot start this program again")?;
    anyhow::ensure!(
        status.success(),
        "the step `{}` ended with {status}: what is done is kept, start again to go on",
        step.name
    );
    Ok(())
}

/// Writes how far it is, and then the report of what is there: a report can be made again, a step of hours cannot.
fn save(out: &Path, progress: &Reproduction) -> anyhow::Result<()> {
    let path = progress_file(out);
    results::write(&path, progress).with_context(|| format!("cannot write {}", path.display()))?;
    write(out, &reproduction::report(progress, out)?)
}

/// Writes both forms of a report into a folder.
pub(super) fn write(out: &Path, report: &Report) -> anyhow::Result<()> {
    for (name, text) in [("index.html", &report.html), ("report.md", &report.markdown)] {
        let path = out.join(name);
        results::write_text(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn about(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!(", about {seconds:.0} s left"),
        60.0..7200.0 => format!(", about {:.0} min left", seconds / 60.0),
        _ => format!(", about {:.1} h left", seconds / 3600.0),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_command_with_a_result_counts_as_done() {
        let folder = tempfile::tempdir().unwrap();
        let step = |name: &str, flag: &str| Step { name: name.into(), command: vec![flag.into()], seconds: None };
        let origin = Origin::default();
        let fresh = |steps: &[Step]| resume(folder.path(), steps.iter().cloned(), &origin).unwrap();
        assert_eq!(fresh(&[step("a", "x")]), [step("a", "x")]);
        let done = |name: &str, flag: &str| Step { seconds: Some(3.0), ..step(name, flag) };
        let progress = Reproduction {
            model: "m".into(),
            goal: "g".into(),
            origin: origin.clone(),
            steps: vec![done("a", "x"), done("b", "x"), done("c", "x")],
        };
        results::write(&progress_file(folder.path()), &progress).unwrap();
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        let steps = fresh(&[step("a", "x"), step("b", "other"), step("c", "x"), step("d", "x")]);
        let seconds: Vec<Option<f64>> = steps.iter().map(|step| step.seconds).collect();
        assert_eq!(seconds, [Some(3.0), None, None, None], "b ran with other flags, c left no file");
        let elsewhere: Origin =
            serde_json::from_str(r#"{"model":[],"texts":[],"program":null,"machine":"x"}"#).unwrap();
        let steps = resume(folder.path(), [step("a", "x")].into_iter(), &elsewhere).unwrap();
        assert_eq!(steps, [step("a", "x")], "another machine measures anew");
        std::fs::write(progress_file(folder.path()), "{\"rows\": []}").unwrap();
        let error = resume(folder.path(), [step("a", "x")].into_iter(), &origin).unwrap_err();
        assert!(format!("{error:#}").contains("not of a reproduction"), "{error:#}");
    }

    #[test]
    fn forecasts_read_well() {
        assert_eq!(about(42.4), ", about 42 s left");
        assert_eq!(about(600.0), ", about 10 min left");
        assert_eq!(about(9000.0), ", about 2.5 h left");
    }
}
