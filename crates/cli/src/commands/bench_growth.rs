//! How fast time to first token grows with the prompt, and what the stages of the search take.

use crate::arguments::BenchGrowth;
use crate::{json_file, progress, table};
use eval::bench::growth::{self, Growth};
use eval::bench::search_cost::{self, SearchCost};
use eval::results::Meta;
use runtime::request::{AttentionMode, Goal, StagesMs};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    rows: &'a [growth::Row],
    search: &'a [search_cost::Row],
}

pub fn run(arguments: BenchGrowth) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let (lengths, runs, goal) = (arguments.lengths, arguments.runs, arguments.goal.goal());
    // Dense prefill searches for nothing.
    let searches = arguments.attention.iter().any(|mode| *mode != AttentionMode::Dense);
    let modes = arguments.attention.len() + usize::from(searches);
    let bar = progress::bar("timing", (lengths.len() * runs * modes) as u64);
    let bench = Growth { lengths: lengths.clone(), attention: arguments.attention, runs, goal };
    let rows = bench.run(&mut engine, &mut || bar.inc(1))?;
    let search = match searches {
        true => SearchCost { lengths, runs, goal }.run(&mut engine, &mut || bar.inc(1))?,
        false => Vec::new(),
    };
    bar.finish_and_clear();
    print_growth(&rows)?;
    if searches {
        writeln!(io::stdout())?;
        print_search(&search)?;
    }
    json_file::write(&arguments.json, &Results { meta, goal, rows: &rows, search: &search })
}

fn print_growth(rows: &[growth::Row]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.attention.to_string(),
                format!("{} to {}", row.from, row.to),
                format!("{} to {}", table::time(row.from_ms), table::time(row.to_ms)),
                table::estimate(&row.gradient_ms, 1),
                row.gradient_vs_dense.map_or("".into(), |ratio| table::estimate(&ratio, 2)),
                table::estimate(&row.exponent, 2),
            ]
        })
        .collect();
    table::print(
        &["attention", "tokens", "TTFT", "ms per 1000 more tokens (95%)", "over dense's (95%)", "exponent (95%)"],
        &cells,
    )
}

/// Stages as shares of the search, which no number of threads changes; blank where they were not timed.
fn print_search(rows: &[search_cost::Row]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let share = |stage: fn(&StagesMs) -> f64| match row.stages {
                Some(stages) if stages.total() > 0.0 => format!("{:.0}%", 100.0 * stage(&stages) / stages.total()),
                _ => String::new(),
            };
            vec![
                row.length.to_string(),
                table::time(row.search_ms),
                format!("{:.1}%", 100.0 * row.share_of_prefill),
                share(|stages| stages.scores_ms),
                share(|stages| stages.probes_ms),
                share(|stages| stages.candidates_ms),
                share(|stages| stages.lowering_ms),
                table::time(row.attention_ms),
                format!("{:.3}", row.density),
            ]
        })
        .collect();
    let header =
        ["length", "search", "of prefill", "scores", "probes", "candidates", "lowering", "attention", "density"];
    table::print(&header, &cells)
}
