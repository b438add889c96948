use super::*;

fn reproduction(model: &str, goal: &str, steps: &[Step]) -> Reproduction {
    Reproduction { model: model.into(), goal: goal.into(), origin: Origin::default(), steps: steps.into() }
}
use crate::results;
use serde_json::json;

fn step(name: &str) -> Step {
    Step { name: name.into(), command: vec!["bench".into(), name.into(), "<&>".into()], seconds: Some(1.0) }
}

fn estimate(value: f64) -> serde_json::Value {
    json!({"value": value, "ci95": [value * 0.9, value * 1.1]})
}

fn spread(median: f64) -> serde_json::Value {
    json!({"min": median * 0.9, "median": median, "max": median * 1.2})
}

#[test]
fn what_is_there_is_told_and_what_is_not_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, value: serde_json::Value| results::write(&folder.path().join(name), &value).unwrap();
    let ttft = |attention, ms: f64, speedup: f64, density: f64| {
        json!({"length": 4096, "attention": attention, "ttft_ms": spread(ms), "speedup_vs_dense": speedup, "search_ms": 1.0,
            "attention_ms": 2.0, "density": density, "recall": 0.98, "predicted_memory_bytes": 5})
    };
    put(
        "ttft.json",
        json!({"meta": {"device": "cpu (x)", "cpu": null, "commit": "0123456789abcdef", "version": "0.1.0",
        "date": "2026-01-31T12:00:00Z"}, "rows": [ttft("dense", 100.0, 1.0, 1.0), ttft("sparse", 50.0, 2.0, 0.25)]}),
    );
    let point = |ratio: f64| json!({"length": 512, "dense_ms": spread(9.0), "sparse_ms": spread(8.0), "ratio": estimate(ratio), "density": 0.5});
    put(
        "crossover.json",
        json!({"meta": {}, "break_even": {"value": {"tokens": 1360.4}, "ci95": ["every_length", "none"]},
        "gain": 0.02, "n": 3, "points": [point(0.9)]}),
    );
    put(
        "passkey.json",
        json!({"rows": [
        {"length": 512, "attention": "sparse", "score": 0.5, "n": 2, "ci95": [0.1, 0.9], "density": 0.4, "ttft_ms": 9.0}],
        "agreement": [{"length": 512, "attention": "sparse", "agreement": 0.5, "lost": 1, "won": 0, "p_value": 1.0, "n": 2,
            "ci95": [0.1, 0.9]}]}),
    );
    let steps = [step("ttft"), step("crossover"), step("passkey"), step("overhead")];
    let Report { html, markdown } =
        report(&reproduction("a <model>", "a recall of 0.9", &steps), folder.path()).unwrap();
    for text in [&html, &markdown] {
        for said in [
            "At 4096 tokens 2.00 times as fast as dense, at a density of 0.25.",
            "from 1360 tokens on (95%: the shortest length tried to none of the lengths tried)",
            "Of 2 prompts sparse attention lost 1 that dense answered, and won 0",
            "Not measured yet.",
            "sparse aims at a recall of 0.9.",
            "Words",
            "Pairs that were computed, over the pairs",
            "https://arxiv.org/abs/2407.02490",
            "The numbers: ttft.json",
            "Measured on cpu (x), with version 0.1.0, commit 0123456789ab, from 2026-01-31T12:00:00Z on.",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
    assert!(
        html.contains("a &lt;model&gt;")
            && html.contains("bench ttft &lt;&amp;&gt;")
            && html.matches("<svg").count() == 2
    );
    assert!(markdown.contains("| 4096 | sparse | 50 ms |") && markdown.contains("$ sparse-accelerate bench ttft <&>"));
}

#[test]
fn a_file_of_another_kind_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ttft.json"), "{\"rows\": 3}").unwrap();
    let error = report(&reproduction("m", "", &[step("ttft")]), folder.path()).unwrap_err().to_string();
    assert!(error.contains("ttft.json") && error.contains("invalid type"), "{error}");
}

#[test]
fn folders_stand_side_by_side_row_by_row() {
    let points = |lengths: &[usize], ratio: f64| -> Vec<serde_json::Value> {
        let point = |length| {
            json!({"length": length, "dense_ms": spread(9.0), "sparse_ms": spread(8.0), "ratio": estimate(ratio),
                "density": 0.5})
        };
        lengths.iter().map(point).collect()
    };
    let folders = [(&[512, 1024][..], 0.9, "a recall of 0.98"), (&[1024, 2048], 0.5, "a density of <0.1>")].map(|(lengths, ratio, goal)| {
        let folder = tempfile::tempdir().unwrap();
        let outcome = json!({"meta": {"device": "cpu", "cpu": null, "commit": null, "version": "0.1.0", "date": "2026-01-31T12:00:00Z"},
            "break_even": {"value": "none", "ci95": ["none", "none"]}, "gain": 0.02, "n": 3, "points": points(lengths, ratio)});
        results::write(&folder.path().join("crossover.json"), &outcome).unwrap();
        let undone = Step { seconds: None, ..step("ttft") };
        let told = reproduction("m", goal, &[step("crossover"), undone]);
        results::write(&folder.path().join(Reproduction::FILE), &told).unwrap();
        folder
    });
    let paths = folders.each_ref().map(|folder| folder.path().to_owned());
    let Report { html, markdown } = beside(&paths).unwrap();
    for row in [
        "| tokens | A | B |",
        "| 512 | 0.900 (0.810 to 0.990) |  |",
        "| 1024 | 0.900 (0.810 to 0.990) | 0.500 (0.450 to 0.550) |",
        "| 2048 |  | 0.500 (0.450 to 0.550) |",
        "| B | m | a density of <0.1> | cpu | version 0.1.0 | 2026-01-31T12:00:00Z |",
    ] {
        assert!(markdown.contains(row), "{row}: {markdown}");
    }
    assert!(!markdown.contains("Time to first token\n"), "nobody measured it: {markdown}");
    assert!(html.contains("a density of &lt;0.1&gt;") && html.matches("<svg").count() == 1);
    let missing = tempfile::tempdir().unwrap();
    let error = beside(&[missing.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("reproduce.json"), "{error}");
}
