//! Peak memory over prompt lengths, each point in a process of its own.

use crate::arguments::BenchMemory;
use crate::{json_file, progress, table};
use anyhow::Context;
use eval::bench::memory::{self, Point};
use eval::results::Meta;
use runtime::memory::Bytes;
use runtime::request::{AttentionMode, Goal};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::process::{Command, Stdio};

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
    let output = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg(format!("--one-point={length}:{attention}"))
        .stdin(Stdio::null())
        .output()
        .context("cannot start this program again")?;
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
    table::print(&["length", "attention", "predicted", "measured", "measured / predicted"], &cells)
}
