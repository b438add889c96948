use super::*;
use std::fs;

fn head(command: &str) -> Head {
    Head { origin: Origin::default(), command: vec![command.into()] }
}

fn key(index: usize) -> Key {
    Key { task: "t".into(), length: 8, index, seed: 0, mode: "dense".into() }
}

/// Asks for samples 0 to `count`, and says which had to be made.
fn run(samples: &mut Samples, count: usize) -> Vec<usize> {
    let mut made = Vec::new();
    for index in 0..count {
        let value = samples.once(key(index), || {
            made.push(index);
            Ok(1.0 / (index as f64 + 3.0))
        });
        assert_eq!(value.unwrap(), 1.0 / (index as f64 + 3.0), "to the bit");
    }
    made
}

#[test]
fn a_file_cut_anywhere_loses_the_line_that_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    assert_eq!(run(&mut Samples::open(&path, &head("x")).unwrap(), 4), [0, 1, 2, 3]);
    let whole = fs::read(&path).unwrap();
    assert_eq!(run(&mut Samples::open(&path, &head("x")).unwrap(), 5), [4], "the file is not written anew");
    let with_five = fs::read(&path).unwrap();
    assert!(with_five.starts_with(&whole));
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let mut samples = Samples::open(&path, &head("x")).unwrap();
        assert_eq!((samples.len(), samples.changed()), (lines.saturating_sub(1), None), "cut at {cut}");
        run(&mut samples, 5);
        // A new head says when it was written.
        if lines > 0 {
            assert_eq!(fs::read(&path).unwrap(), with_five, "cut at {cut}");
        }
    }
}

#[test]
fn what_holds_for_something_else_begins_anew_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    run(&mut Samples::open(&path, &head("x")).unwrap(), 2);
    let mut samples = Samples::open(&path, &head("y")).unwrap();
    assert_eq!((samples.changed(), samples.len()), (Some("the command"), 0));
    assert_eq!(run(&mut samples, 2), [0, 1]);
    drop(samples);
    fs::write(&path, "{\"samples_of\":{\"of\":\"another version\"}}\n{\"key\":1}\n").unwrap();
    assert_eq!(Samples::open(&path, &head("y")).unwrap().changed(), Some("the program"));
}

#[test]
fn results_are_of_the_day_when_their_samples_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    let samples = Samples::open(&path, &head("x")).unwrap();
    let began = samples.began().unwrap().to_owned();
    drop(samples);
    let earlier = fs::read_to_string(&path).unwrap().replace(&began, "2026-01-31T12:00:00Z");
    fs::write(&path, earlier).unwrap();
    let meta = |command| {
        let samples = Samples::open(&path, &head(command)).unwrap();
        crate::results::Meta::now("m", "cpu", 1).begun(samples.began()).date
    };
    assert_eq!(meta("x"), "2026-01-31T12:00:00Z");
    assert!(meta("y") >= began, "anew");
}

#[test]
fn two_runs_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    let first = Samples::open(&path, &head("x")).unwrap();
    let refused = Samples::open(&path, &head("y")).err().unwrap();
    assert!(matches!(refused, EvalError::SampleFileInUse { .. }), "{refused}");
    drop(first);
    Samples::open(&path, &head("x")).unwrap();
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    for text in ["{\"prompt\": \"mine\"}\n", "x", "\n", "{\"samples_or\"", "\u{feff}{"] {
        fs::write(&path, text).unwrap();
        let error = Samples::open(&path, &head("x")).err().unwrap();
        assert!(matches!(error, EvalError::NoSampleFile { .. }), "{text}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_line_that_was_changed_is_an_error_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.samples.jsonl");
    run(&mut Samples::open(&path, &head("x")).unwrap(), 3);
    let text = fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    fs::write(&path, text.replace(second, "{\"key\": nonsense")).unwrap();
    let error = Samples::open(&path, &head("x")).err().unwrap().to_string();
    assert!(error.contains("line 2") && error.contains("a.samples.jsonl"), "{error}");
    fs::write(&path, text.replace("\"sample\":0.25", "\"sample\":\"much\"")).unwrap();
    let mut samples = Samples::open(&path, &head("x")).unwrap();
    let error = samples.once(key(1), || Ok(0.0)).unwrap_err().to_string();
    assert!(error.contains("t 1 of 8 tokens, dense"), "{error}");
}
