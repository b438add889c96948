//! Negative log-likelihood of the end of long texts.

use crate::arguments::EvalPerplexity;
use crate::{json_file, progress, samples, table, texts};
use eval::results::Meta;
use eval::tasks::perplexity::{Perplexity, Row};
use runtime::request::Goal;
use serde::Serialize;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    rows: &'a [Row],
}

pub fn run(arguments: EvalPerplexity) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let plan = samples::plan(&arguments.model, &arguments.texts, &arguments.json)?;
    let texts = texts::read(&arguments.texts)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).begun(kept.began());
    let (lengths, tail, attention, goal) =
        (arguments.lengths, arguments.tail, arguments.attention, arguments.goal.goal());
    let receipt = arguments.receipt.then_some(0);
    let task = Perplexity { texts, lengths, tail, attention, goal, receipt };
    let bar = progress::bar("rating", (task.texts.len() * task.lengths.len() * task.attention.len()) as u64);
    let rows = task.run(&mut engine, &mut kept, &mut |_| bar.inc(1))?;
    bar.finish_and_clear();
    print(&rows)?;
    json_file::write(&arguments.json, &Results { meta, goal: task.goal, rows: &rows })?;
    Ok(())
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let change = row.relative_to_dense.zip(row.ci95);
            vec![
                row.text.clone(),
                row.length.to_string(),
                row.attention.to_string(),
                format!("{:.4}", row.nll),
                row.n.to_string(),
                change.map_or("".into(), |(change, half)| format!("{:+.2}% +- {:.2}%", 100.0 * change, 100.0 * half)),
                format!("{:.3}", row.density),
                table::time(row.attention_ms),
            ]
        })
        .collect();
    table::print(&["text", "length", "attention", "NLL", "n", "to dense", "density", "attention time"], &cells)
}
