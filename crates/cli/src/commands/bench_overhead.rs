//! What the default attention mode costs short prompts.

use crate::arguments::BenchOverhead;
use crate::{json_file, progress, table};
use eval::bench::overhead::{Overhead, Row};
use eval::results::Meta;
use runtime::request::Goal;
use serde::Serialize;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    rows: &'a [Row],
}

pub fn run(arguments: BenchOverhead) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let bench = Overhead { lengths: arguments.lengths, runs: arguments.runs, goal: arguments.goal.goal() };
    let bar = progress::bar("timing", (2 * bench.lengths.len() * bench.runs) as u64);
    let rows = bench.run(&mut engine, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    print(&rows)?;
    json_file::write(&arguments.json, &Results { meta, goal: bench.goal, rows: &rows })
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.length.to_string(),
                table::time(row.dense_ms.median),
                table::time(row.auto_ms.median),
                table::estimate(&row.ratio, 3),
                row.n.to_string(),
                format!("{:.3}", row.density),
            ]
        })
        .collect();
    table::print(&["length", "dense", "auto", "auto / dense (95%)", "rounds", "density"], &cells)
}
