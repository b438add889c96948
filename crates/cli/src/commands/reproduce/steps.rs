//! Which experiments there are, and how long each.

use crate::arguments::Reproduce;
use eval::reproduction::Step;
use std::path::Path;

/// Longest prompt unless one is asked for: what a CPU takes seconds for.
const LONGEST: usize = 8192;

/// A step and how long it takes, in units that all steps share.
pub(super) struct Planned {
    pub step: Step,
    pub weight: f64,
}

/// The steps for a model of this context, in the order of the paper's experiments, open questions and further checks.
///
/// # Errors
/// When a path is not UTF-8, or the longest prompt is beyond the context.
pub(super) fn plan(arguments: &Reproduce, context: usize) -> anyhow::Result<Vec<Planned>> {
    let Reproduce { quick, texts, .. } = arguments;
    let longest = arguments.to.unwrap_or(LONGEST.min(context));
    anyhow::ensure!(
        longest <= context,
        "--to {longest} is beyond the model's context of {context} tokens: ask for shorter prompts"
    );
    let either = |quickly: usize, thoroughly: usize| if *quick { quickly } else { thoroughly };
    let (runs, samples) = (either(3, 5), either(10, 100));
    // Each twice the one before, up to the longest.
    let lengths = |count: usize| -> Vec<usize> {
        (0..count).rev().map(|halvings| longest >> halvings).filter(|length| *length > 0).collect()
    };
    let list = |lengths: &[usize]| lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    // Long prompts dominate: the time of one of them, dense and sparse, is a unit.
    let units =
        |lengths: &[usize]| lengths.iter().map(|length| (*length as f64 / longest as f64).powf(1.5)).sum::<f64>();
    let mut steps = Steps { arguments, planned: Vec::new() };

    let timed = lengths(5);
    steps.add(
        "ttft",
        &["bench", "ttft"],
        &[("--lengths", list(&timed)), ("--runs", runs.to_string())],
        runs as f64 * units(&timed),
    )?;
    let grown = lengths(4);
    let rounds = [("--lengths", list(&grown)), ("--runs", runs.to_string())];
    steps.add("growth", &["bench", "growth"], &rounds, 1.5 * runs as f64 * units(&grown))?;
    let held = lengths(4);
    steps.add("memory", &["bench", "memory"], &[("--lengths", list(&held))], 2.0 * units(&held))?;
    let asked = lengths(either(2, 3));
    for task in ["passkey", "needle"] {
        let flags = [("--lengths", list(&asked)), ("--samples", samples.to_string())];
        steps.add(task, &["eval", task], &flags, samples as f64 * units(&asked))?;
    }
    let from = (longest / 32).max(1).min(longest.saturating_sub(1).max(1));
    let flags = [("--from", from.to_string()), ("--to", longest.to_string()), ("--runs", either(3, 7).to_string())];
    steps.add("crossover", &["bench", "crossover"], &flags, 2.0 * either(3, 7) as f64)?;
    steps.add("overhead", &["bench", "overhead"], &[("--runs", either(20, 50).to_string())], either(1, 3) as f64)?;
    if !texts.is_empty() {
        let files: Vec<String> = texts.iter().map(|path| utf8(path)).collect::<Result<_, _>>()?;
        let files = files.join(",");
        let read = lengths(either(1, 2));
        let tail = (longest / 8).clamp(1, 1024).to_string();
        let of_texts = |lengths: &[usize]| vec![("--texts", files.clone()), ("--lengths", list(lengths))];
        let with_tail = |lengths: &[usize]| [of_texts(lengths), vec![("--tail", tail.clone())]].concat();
        let count = texts.len() as f64;
        steps.add("perplexity", &["eval", "perplexity"], &with_tail(&read), 3.0 * count * units(&read))?;
        let studied = [longest.div_ceil(2)];
        let page = utf8(&arguments.out.join("ablation.html"))?;
        let flags = [with_tail(&studied), vec![("--html", page)]].concat();
        steps.add("ablation", &["eval", "ablation"], &flags, 12.0 * count * units(&studied))?;
        let step = [("--layer-step", either(8, 4).to_string())];
        let flags = [of_texts(&studied), step.to_vec()].concat();
        steps.add("selectors", &["bench", "selectors"], &flags, either(8, 16) as f64 * count * units(&studied))?;
    }
    Ok(steps.planned)
}

struct Steps<'a> {
    arguments: &'a Reproduce,
    planned: Vec<Planned>,
}

impl Steps<'_> {
    fn add(&mut self, name: &str, command: &[&str], flags: &[(&str, String)], weight: f64) -> anyhow::Result<()> {
        let Reproduce { model, device, threads, out, .. } = self.arguments;
        let file = out.join(format!("{name}.json"));
        let common = [
            ("--model", model.clone()),
            ("--device", device.to_string()),
            ("--threads", threads.to_string()),
            ("--json", utf8(&file)?),
        ];
        // Studies of patterns try goals of their own.
        let goal = if ["ablation", "selectors"].contains(&name) { None } else { self.arguments.goal.as_flag() };
        let flags =
            flags.iter().chain(&common).chain(&goal).flat_map(|(flag, value)| [flag.to_string(), value.clone()]);
        let command = command.iter().map(|word| word.to_string()).chain(flags).collect();
        self.planned.push(Planned { step: Step { name: name.into(), command, seconds: None }, weight });
        Ok(())
    }
}

fn utf8(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().ok_or_else(|| anyhow::anyhow!("the path {} is not UTF-8: rename it", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::Parser;

    fn arguments(more: &[&str]) -> Reproduce {
        let line = ["sparse-accelerate", "reproduce", "--model", "m.gguf", "--out", "o"];
        match Arguments::parse_from(line.iter().chain(more)).command {
            crate::arguments::Command::Reproduce(reproduce) => reproduce,
            _ => unreachable!("the line says so"),
        }
    }

    /// Every step is a command line that the program takes.
    #[test]
    fn steps_are_commands_of_this_program() {
        for more in [
            &["--texts", "a.txt,b.txt"][..],
            &["--quick"],
            &["--recall", "0.9", "--texts", "a.txt"],
            &["--budget", "density=0.1"],
            &["--quick", "--to", "700", "--texts", "a.txt"],
            &["--to", "3"],
        ] {
            let planned = plan(&arguments(more), 32768).unwrap();
            assert_eq!(planned.len(), if more.contains(&"--texts") { 10 } else { 7 });
            for Planned { step, weight } in &planned {
                let line = std::iter::once("sparse-accelerate").chain(step.command.iter().map(String::as_str));
                Arguments::try_parse_from(line).unwrap_or_else(|error| panic!("{:?}: {error}", step.command));
                assert!(weight.is_finite() && *weight > 0.0, "{}", step.name);
            }
        }
        let refused = plan(&arguments(&["--to", "9000"]), 8192).err().unwrap().to_string();
        assert!(refused.contains("context of 8192"), "{refused}");
    }
}
