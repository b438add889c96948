//! What plans keep, against what the search says.

use crate::arguments::BenchRecall;
use crate::{json_file, progress, table, texts};
use eval::bench::recall::{Coverage, RecallCheck, Row, TOLERANCE};
use eval::results::Meta;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    tolerance: f64,
    layer_step: usize,
    runs: usize,
    rows: &'a [Row],
}

pub fn run(arguments: BenchRecall) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let texts = texts::read(&arguments.texts)?;
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let (lengths, recalls) = (arguments.lengths, arguments.recalls);
    let (layer_step, runs) = (arguments.layer_step, arguments.runs);
    let receipts = arguments.receipts;
    let check = RecallCheck { texts, lengths, recalls, layer_step, runs, receipts };
    let prompts = check.texts.len() * check.lengths.len() * check.recalls.len();
    let bar = progress::bar("measuring", prompts as u64);
    let rows = check.run(&mut engine, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    print(&rows)?;
    json_file::write(&arguments.json, &Results { meta, tolerance: TOLERANCE, layer_step, runs, rows: &rows })?;
    Ok(())
}

fn print(rows: &[Row]) -> io::Result<()> {
    let ms = |time: Option<f64>| time.map_or_else(String::new, |ms| format!("{ms:.0}"));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.text.clone(),
                row.length.to_string(),
                format!("{:.3}", row.goal),
                row.sparse_heads.to_string(),
                format!("{:.4}", row.exact),
                format!("{:+.4}", row.estimated_minus_exact),
                format!("{:.1}%", 100.0 * row.heads_at_goal),
                format!("{:.3}", row.worst),
                format!("{:.3}", row.density),
                ms(row.prefill_ms),
                ms(row.search_ms),
            ]
        })
        .collect();
    let at_goal = format!("at goal - {TOLERANCE}");
    let head = [
        "text",
        "length",
        "goal",
        "sparse heads",
        "recall",
        "said - kept",
        &at_goal,
        "worst",
        "density",
        "prefill ms",
        "search ms",
    ];
    table::print(&head, &cells)?;
    let coverages = rows.iter().filter_map(|row| row.coverage.map(|coverage| (row, coverage)));
    coverages.map(|(row, coverage)| said(row, &coverage)).try_for_each(|line| writeln!(io::stdout(), "{line}"))
}

/// What receipts are worth, in words.
fn said(row: &Row, coverage: &Coverage) -> String {
    let Coverage { receipts, prompts_held, layers, layers_held, prompt_margin, layer_margin, .. } = coverage;
    format!(
        "{} at {}: {prompts_held} of {receipts} receipts hold what the prompt keeps, {layers_held} of {layers} what a layer keeps; \
         their lower bounds lie {prompt_margin:.4} and {layer_margin:.4} below it",
        row.text, row.length,
    )
}
