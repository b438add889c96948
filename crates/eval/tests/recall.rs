//! The recall that the search says against the recall that its plans have, on a real model and four kinds of text.
//!
//! `texts/prose.txt` is from Jules Verne's *Around the World in Eighty Days* in G. M. Towle's translation (1873), `texts/dialogue.txt`
//! from Shakespeare's *Coriolanus*, `texts/code.txt` from an early state of our own search.

use eval::bench::recall::{RecallCheck, Row};
use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use std::path::Path;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
const TOKENS: usize = 2560;

fn texts() -> Vec<(String, String)> {
    let text = |name: &str, text: String| (name.to_string(), text);
    let repeated = "The ferry leaves the pier at noon, unless fog lies over the sound and the pilot stays ashore. ";
    vec![
        text("prose", include_str!("texts/prose.txt").into()),
        text("code", include_str!("texts/code.txt").into()),
        text("dialogue", include_str!("texts/dialogue.txt").into()),
        text("repetition", repeated.repeat(TOKENS / 16)),
    ]
}

/// Of every text: what is said is what is kept, 95 heads of 100 keep what was asked for, or a hundredth less, and receipts hold it.
#[test]
fn plans_keep_the_recall_that_the_search_says() {
    if !Path::new(MODEL).exists() {
        return eprintln!("SKIPPED: {MODEL} is not there; scripts/fetch-model gets it");
    }
    let options = EngineOptions { device: Device::Cpu, ..EngineOptions::default() };
    let mut engine = Engine::load(MODEL, &options, &mut |_| {}).unwrap();
    let check = RecallCheck {
        texts: texts(),
        lengths: vec![TOKENS],
        recalls: vec![0.98],
        layer_step: 3,
        runs: 0,
        receipts: 10,
    };
    let rows = check.run(&mut engine, &mut |_| {}).unwrap();
    rows.iter().for_each(|row| println!("{row:?}"));
    let kept =
        |row: &Row| row.sparse_heads >= 60 && row.estimated_minus_exact.abs() <= 0.003 && row.heads_at_goal >= 0.95;
    let broken: Vec<&Row> = rows.iter().filter(|row| !kept(row)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let (mut layers, mut layers_held) = (0, 0);
    for row in &rows {
        let coverage = row.coverage.expect("receipts were asked for");
        (layers, layers_held) = (layers + coverage.layers, layers_held + coverage.layers_held);
        assert!(coverage.prompts_held >= 9, "{}: {coverage:?}", row.text);
        assert!(coverage.kept_minus_exact.abs() < 0.001, "{}: {coverage:?}", row.text);
        // An interval that says nothing would hold everything.
        assert!(coverage.prompt_margin < 0.01 && coverage.layer_margin < 0.1, "{}: {coverage:?}", row.text);
    }
    assert!(layers >= 300 && 100 * layers_held >= 93 * layers, "{layers_held} of {layers}");
    // What keeps it is not that hardly anything is left out.
    assert!(rows.iter().all(|row| row.density < 0.65), "{rows:#?}");
}
