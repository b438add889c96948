//! The files of this crate cut at every byte are errors; a panic fails the test.

use attention::calibration::{Calibration, GpuKernel};
use attention::plan::file::SavedPlan;
use attention::search::CostModel;
use attention::shape::HeadShape;
use attention::static_patterns::StaticPatterns;

fn all_refused(what: &str, text: &str, read: impl Fn(&str) -> bool) {
    assert!(read(text), "{what} is good when it is whole");
    for cut in (0..text.trim_end().len()).filter(|cut| text.is_char_boundary(*cut)) {
        assert!(!read(&text[..cut]), "{what} was read though cut at {cut}");
    }
}

#[test]
fn plans() {
    let text = r#"{"format": "sparse-accelerate plan", "version": 2, "q_len": 100, "kv_len": 130, "heads": ["dense",
        {"window": 64}, {"sparse": {"block_m": 64, "indptr": [0, 2, 4], "indices": [0, 1, 1, 2], "columns": [7, 30],
        "centres": true}}]}"#;
    all_refused("a plan", text, |text| SavedPlan::from_json(text).is_ok());
}

#[test]
fn patterns() {
    let own = r#"{"format": "sparse-accelerate patterns", "version": 1, "centres": false, "layers": [
        [{"pattern": "dense"}, {"pattern": "triangular", "sink": 128, "window": 1024}],
        [{"pattern": "interval_slash", "columns": 1000, "slashes": 6096}, {"pattern": "top_blocks", "blocks": 100}]]}"#;
    let minference = r#"[{"0": ["vertical_and_slash", 1000, 6096, 0.5], "1": ["stream_llm", 100, 800, 0.9]}]"#;
    for text in [own, minference] {
        all_refused("patterns", text, |text| StaticPatterns::from_json(text).is_ok());
    }
}

#[test]
fn calibrations() {
    let kernel = GpuKernel {
        device: "Example GPU".into(),
        capability: (9, 0),
        driver_version: 13_000,
        kernel: "attend_sm90".into(),
        block_m: 192,
        heads: HeadShape::new(14, 2, 64).unwrap(),
    };
    let costs = CostModel { step_us: Some(5.7e-3), search_head: 600.0, ..CostModel::default() };
    let calibration = Calibration::of_gpus([(kernel, costs)], "2026-01-31T12:00:00Z").unwrap();
    let text = serde_json::to_string_pretty(&calibration).unwrap();
    all_refused("a calibration", &text, |text| Calibration::from_json(text).is_ok());
}
