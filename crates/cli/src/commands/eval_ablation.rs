//! What each family and part of the patterns contributes.

use crate::arguments::EvalAblation;
use crate::{json_file, progress, samples, table, texts};
use eval::bench::ablation::{Ablation, Findings, Row, page};
use eval::results::Meta;
use runtime::request::Goal;
use serde::Serialize;

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    #[serde(flatten)]
    findings: &'a Findings,
}

pub fn run(arguments: EvalAblation) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    json_file::check(&arguments.html)?;
    let plan = samples::plan(&arguments.model, &arguments.texts, &arguments.json)?;
    let texts = texts::read(&arguments.texts)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut kept = plan.open(&engine)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).of_samples(&kept);
    let goal = arguments.goal.goal();
    let ablation = Ablation { texts, lengths: arguments.lengths, tail: arguments.tail, goal };
    let bar = progress::bar("comparing", ablation.prefills() as u64);
    let findings = ablation.run(&mut engine, &mut kept, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    print(&findings.rows)?;
    json_file::write_text(&arguments.html, || page(engine.model_name(), &arguments.goal.to_string(), &findings))?;
    json_file::write(&arguments.json, &Results { meta, goal, findings: &findings })
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            [row.variant.to_string(), row.text.clone(), row.length.to_string()].into_iter().chain(row.cells()).collect()
        })
        .collect();
    let header: Vec<&str> = ["variant", "text", "length"].into_iter().chain(Row::HEADER).collect();
    table::print(&header, &cells)
}
