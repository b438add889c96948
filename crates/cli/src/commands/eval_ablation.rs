//! What each family and part of the patterns contributes.

use crate::arguments::EvalAblation;
use crate::{json_file, progress, samples, table, texts};
use eval::bench::ablation::{Ablation, Findings, Row, page};
use eval::results::Meta;
use runtime::request::Goal;
use serde::Serialize;
use std::path::Path;

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
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads).begun(kept.began());
    let goal = arguments.goal.goal();
    let ablation = Ablation { texts, lengths: arguments.lengths, tail: arguments.tail, goal };
    let bar = progress::bar("comparing", ablation.prefills() as u64);
    let findings = ablation.run(&mut engine, &mut kept, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    print(&findings.rows)?;
    let data = beside(arguments.html.as_deref(), arguments.json.as_deref());
    json_file::write_text(&arguments.html, || page(engine.model_name(), &arguments.goal.to_string(), &findings, data))?;
    json_file::write(&arguments.json, &Results { meta, goal, findings: &findings })
}

/// Name of the file of numbers, where it is in the folder of the page.
fn beside<'a>(page: Option<&Path>, numbers: Option<&'a Path>) -> Option<&'a str> {
    let numbers = numbers.filter(|numbers| page.is_some_and(|page| page.parent() == numbers.parent()));
    numbers.and_then(|numbers| numbers.file_name()?.to_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linked_from_the_page_beside_them_only() {
        let beside =
            |page: Option<&str>, numbers: Option<&'static str>| beside(page.map(Path::new), numbers.map(Path::new));
        assert_eq!(beside(Some("out/a.html"), Some("out/b.json")), Some("b.json"));
        assert_eq!(beside(Some("a.html"), Some("b.json")), Some("b.json"));
        assert_eq!(beside(Some("out/a.html"), Some("b.json")), None);
        assert_eq!(beside(Some("a.html"), None), None);
        assert_eq!(beside(None, Some("b.json")), None);
    }
}
