//! Time to first token, dense beside sparse.

use crate::arguments::BenchTtft;
use crate::{json_file, progress, table, texts};
use eval::bench::ttft::{Row, Ttft};
use eval::results::Meta;
use serde::Serialize;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    /// Name of the text whose beginnings were the prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    rows: &'a [Row],
}

pub fn run(arguments: BenchTtft) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let text = texts::read(arguments.text.as_slice())?.pop();
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let bench = Ttft {
        lengths: arguments.lengths,
        attention: arguments.attention,
        runs: arguments.runs,
        goal: arguments.goal.goal(),
        text,
    };
    let bar = progress::bar("timing", (bench.lengths.len() * bench.attention.len() * bench.runs) as u64);
    let rows = bench.run(&mut engine, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    print(&rows)?;
    json_file::write(
        &arguments.json,
        &Results { meta, text: bench.text.as_ref().map(|(name, _)| name.as_str()), rows: &rows },
    )?;
    Ok(())
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let spread = row.ttft_ms;
            vec![
                row.length.to_string(),
                row.attention.to_string(),
                table::time(spread.median),
                format!("{} .. {}", table::time(spread.min), table::time(spread.max)),
                row.speedup_vs_dense.map_or("".into(), |x| format!("{x:.2}x")),
                table::time(row.search_ms),
                table::time(row.attention_ms),
                format!("{:.3}", row.density),
                row.recall.map_or("".into(), |recall| format!("{recall:.3}")),
                runtime::memory::Bytes(row.predicted_memory_bytes).to_string(),
            ]
        })
        .collect();
    let header = [
        "length",
        "attention",
        "TTFT",
        "min .. max",
        "vs dense",
        "search",
        "attention",
        "density",
        "recall",
        "memory (predicted)",
    ];
    table::print(&header, &cells)
}
