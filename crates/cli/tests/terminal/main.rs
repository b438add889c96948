//! Bars, chats and interruptions in a terminal, wide and narrow: on the default model.
#![cfg(unix)]

mod emulator;

use emulator::Terminal;
use std::path::{Path, PathBuf};

/// Ctrl-C and the Enter key.
const INTERRUPT: &str = "\u{3}";
const ENTER: &str = "\r";

fn default_model() -> Option<String> {
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        eprintln!("SKIPPED: the default model is not there; scripts/fetch-model gets it");
    }
    path.exists().then(|| path.to_str().expect("UTF-8").into())
}

/// A text of about 2,500 tokens, in a folder that goes with it.
fn long_text() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    std::fs::write(&path, "The quick brown fox jumps over the lazy dog. ".repeat(250)).unwrap();
    let path = path.to_str().expect("UTF-8").into();
    (folder, path)
}

/// The lines of all screens that hold a bar of this name, each once.
fn bars(terminal: &Terminal, name: &str) -> Vec<String> {
    let mut bars: Vec<String> = Vec::new();
    for line in terminal.screens().iter().flat_map(|screen| screen.lines()).filter(|line| line.starts_with(name)) {
        if bars.last().is_none_or(|last| last != line) {
            bars.push(line.into());
        }
    }
    bars
}

#[test]
fn bars_move_fit_their_line_and_go() {
    let Some(model) = default_model() else { return };
    let (_folder, text) = long_text();
    for (columns, shows) in [(40, "%, "), (100, " of ")] {
        let flags = ["generate", "--device", "cpu", "--threads", "1", "-n", "3", "-m", &model, "-f", &text];
        let mut terminal = Terminal::run(columns, &flags);
        assert_eq!(terminal.wait(), Some(0), "{}", terminal.screen());
        assert!(bars(&terminal, "loading").iter().any(|bar| bar.contains("/30")), "{:?}", bars(&terminal, "loading"));
        let prefill = bars(&terminal, "prefill");
        assert!(prefill.len() > 5, "{prefill:?}");
        for bar in prefill.iter().filter(|bar| bar.contains("left")) {
            assert!(bar.contains(shows) && bar.contains("/s, "), "{bar}");
            assert!(bar.chars().count() <= columns.into(), "{bar}");
        }
        assert!(prefill.iter().any(|bar| bar.contains(" s left")), "{prefill:?}");
        // One bar at a time, and none when it is done.
        let rows = |screen: &&String| {
            screen.lines().filter(|line| line.contains("loading") || line.contains("prefill ")).count()
        };
        assert!(terminal.screens().iter().all(|screen| rows(&screen) <= 1));
        assert_eq!(rows(&&terminal.screen()), 0, "{}", terminal.screen());
        assert!(terminal.screen().contains("new tokens"), "{}", terminal.screen());
    }
}

#[test]
fn a_chat_goes_on_when_its_answer_is_interrupted() {
    let Some(model) = default_model() else { return };
    for columns in [40, 100] {
        let flags = ["chat", "--device", "cpu", "-m", &model];
        let mut terminal = Terminal::run(columns, &flags);
        let waits = |screen: &str| screen.lines().last().is_some_and(|line| line.trim_end() == ">");
        terminal.wait_for("a prompt", waits);
        terminal.type_keys(INTERRUPT);
        terminal
            .wait_for("what ends the program", |screen| screen.contains("/exit ends the program.") && waits(screen));
        // Narrow screens break the line: it is still one.
        terminal.type_keys("Write a long story about a ship, a storm, and a lighthouse.");
        terminal.type_keys(ENTER);
        terminal.wait_for("an answer that has begun", |screen| {
            screen.split("lighthouse.").nth(1).is_some_and(|below| !below.contains("reading ") && below.len() > 20)
        });
        terminal.type_keys(INTERRUPT);
        terminal.wait_for("an interrupted answer", |screen| screen.contains("interrupted") && waits(screen));
        terminal.type_keys("/stats");
        terminal.type_keys(ENTER);
        terminal.wait_for("what there was", |screen| screen.contains("1 answers") && waits(screen));
        terminal.type_keys("/exit");
        terminal.type_keys(ENTER);
        assert_eq!(terminal.wait(), Some(0), "{}", terminal.screen());
    }
}

#[test]
fn signals_end_an_answer_with_its_summary() {
    let Some(model) = default_model() else { return };
    for (signal, code) in [(INTERRUPT, 130), ("TERM", 143)] {
        let flags =
            ["generate", "--device", "cpu", "--ignore-eos", "-n", "5000", "-m", &model, "-p", "Once upon a time"];
        let mut terminal = Terminal::run(100, &flags);
        terminal.wait_for("an answer that has begun", |screen| !screen.contains("loading") && screen.trim().len() > 40);
        match signal {
            INTERRUPT => terminal.type_keys(INTERRUPT),
            _ => terminal.terminate(),
        }
        assert_eq!(terminal.wait(), Some(code), "{}", terminal.screen());
        assert!(terminal.screen().contains("interrupted"), "{}", terminal.screen());
    }
}
