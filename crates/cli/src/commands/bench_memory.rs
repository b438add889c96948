//! Peak memory over prompt lengths, each point in a process of its own.

use crate::arguments::BenchMemory;
use crate::child;
use crate::{json_file, progress, table};
use anyhow::Context;
use eval::bench::memory::{self, Point};
use eval::results::Meta;
use runtime::memory::Bytes;
use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::process::Command;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    points: &'a [Point],
}

/// What the process of a point prints.
#[derive(Serialize, Deserialize)]
struct Answer {
    model: String,
    device: String,
    point: Point,
}

pub fn run(arguments: BenchMemory) -> anyhow::Result<()> {
    let goal = arguments.goal.goal();
    if let Some((length, attention)) = arguments.one_point {
        let mut engine = progress::load(&arguments.model)?;
        let point = memory::measure(&mut engine, length, attention, goal)?;
        let (model, device) = (engine.model_name().into(), engine.device_name().into());
        writeln!(io::stdout(), "{}", serde_json::to_string(&Answer { model, device, point })?)?;
        return Ok(());
    }
    json_file::check(&arguments.json)?;
    let cases: Vec<(usize, AttentionMode)> = (arguments.lengths.iter())
        .flat_map(|&length| arguments.attention.iter().map(move |&mode| (length, mode)))
        .collect();
    let bar = progress::bar("measuring", cases.len() as u64);
    let mut answers = Vec::new();
    for (length, attention) in cases {
        answers.push(ask(length, attention)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let points: Vec<Point> = answers.iter().map(|answer| answer.point).collect();
    print(&points)?;
    let meta = Meta::now(&answers[0].model, &answers[0].device, arguments.model.threads);
    json_file::write(&arguments.json, &Results { meta, goal, points: &points })
}

/// Starts this program again, with its own arguments and the one point.
fn ask(length: usize, attention: AttentionMode) -> anyhow::Result<Answer> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).arg(format!("--one-point={length}:{attention}"));
    let output = child::output(&mut again).context("cannot start this program again")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("{}", message.trim().strip_prefix("error: ").unwrap_or(message.trim()));
    }
    serde_json::from_slice(&output.stdout).context("cannot read what the process of a point said")
}

fn print(points: &[Point]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            let measured = |text: &dyn Fn(u64) -> String| point.measured_bytes.map_or("".into(), text);
            vec![
                point.length.to_string(),
                point.attention.to_string(),
                Bytes(point.predicted_bytes).to_string(),
                measured(&|bytes| Bytes(bytes).to_string()),
                measured(&|bytes| format!("{:.2}", bytes as f64 / point.predicted_bytes as f64)),
            ]
        })
        .collect();
    table::print(&["length", "attention", "predicted", "measured", "measured / predicted"], &cells)?;
    writeln!(io::stdout())?;
    growth(points).into_iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))
}

/// For each mode, what a further token takes between the shortest and the longest prompt.
fn growth(points: &[Point]) -> Vec<String> {
    let mut lines = Vec::new();
    for mode in [AttentionMode::Auto, AttentionMode::Dense, AttentionMode::Sparse] {
        let of_mode = || points.iter().filter(|point| point.attention == mode);
        let ends = of_mode().min_by_key(|point| point.length).zip(of_mode().max_by_key(|point| point.length));
        let Some((first, last)) = ends.filter(|(first, last)| first.length < last.length) else { continue };
        let tokens = (last.length - first.length) as u64;
        let of_token = |from: u64, to: u64| Bytes(to.saturating_sub(from) / tokens);
        let measured = first.measured_bytes.zip(last.measured_bytes);
        let measured = measured.map_or(String::new(), |(from, to)| format!(", {} measured", of_token(from, to)));
        let predicted = of_token(first.predicted_bytes, last.predicted_bytes);
        let (from, to) = (first.length, last.length);
        lines.push(format!("A further token between {from} and {to} takes {predicted} predicted{measured} ({mode})."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_one_token() {
        let point = |length, attention, predicted_bytes, measured_bytes| Point {
            length,
            attention,
            predicted_bytes,
            measured_bytes,
        };
        let points = [
            point(3000, AttentionMode::Dense, 5000 << 10, Some(7000 << 10)),
            point(1000, AttentionMode::Dense, 1000 << 10, Some(1000 << 10)),
            point(1000, AttentionMode::Sparse, 1, None),
        ];
        let line = "A further token between 1000 and 3000 takes 2.0 KiB predicted, 3.0 KiB measured (dense).";
        assert_eq!(growth(&points), [line]);
        assert_eq!(growth(&points[1..]), [""; 0]);
    }
}
