//! What each selector keeps for the pairs it computes.

use crate::arguments::BenchSelectors;
use crate::{json_file, progress, table, texts};
use eval::bench::selectors::{Row, Selectors};
use eval::results::Meta;
use serde::Serialize;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    layer_step: usize,
    rows: &'a [Row],
}

pub fn run(arguments: BenchSelectors) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let texts = texts::read(&arguments.texts)?;
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let (lengths, recalls, layer_step) = (arguments.lengths, arguments.recalls, arguments.layer_step);
    let bench = Selectors { texts, lengths, recalls, layer_step };
    let bar = progress::bar("comparing", (bench.texts.len() * bench.lengths.len()) as u64);
    let rows = bench.run(&mut engine, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    print(&rows)?;
    json_file::write(&arguments.json, &Results { meta, layer_step, rows: &rows })?;
    Ok(())
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.selector.clone(),
                row.text.clone(),
                row.length.to_string(),
                format!("{:.2}", row.target),
                format!("{:.3}", row.recall),
                format!("{:.3}", row.density),
                format!("{:.4}", row.error),
                format!("{:.4}", row.error_p95),
            ]
        })
        .collect();
    table::print(&["selector", "text", "length", "target", "recall", "density", "error", "p95"], &cells)
}
