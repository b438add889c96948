//! Help as people read it: a file for `-h` and one for `--help` of every command under `tests/help`.

use super::command;
use clap::Command;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;
/// What a screen has; longer texts belong into `--help`.
const LINES: usize = 45;
/// Set, it writes the files anew.
const REWRITE: &str = "REWRITE_HELP";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help")
}

/// Name of the file and its text, for a command and those below it.
fn pages(command: &mut Command, name: &str, into: &mut Vec<(String, String)>) {
    // Without spaces at the ends of lines, as editors leave them.
    let plain = |text: String| text.lines().map(|line| line.trim_end().to_string() + "\n").collect::<String>();
    into.push((format!("{name}.short.txt"), plain(command.render_help().to_string())));
    into.push((format!("{name}.long.txt"), plain(command.render_long_help().to_string())));
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        let name = format!("{name}-{}", below.get_name());
        pages(below, &name, into);
    }
}

fn all_pages() -> Vec<(String, String)> {
    let mut program = command().term_width(COLUMNS);
    program.build();
    let mut all = Vec::new();
    pages(&mut program, "sparse-accelerate", &mut all);
    all
}

#[test]
fn help_is_what_it_was() {
    let pages = all_pages();
    if std::env::var_os(REWRITE).is_some() {
        let _ = std::fs::remove_dir_all(folder());
        std::fs::create_dir_all(folder()).expect("a folder");
        pages.iter().for_each(|(name, text)| std::fs::write(folder().join(name), text).expect("written"));
    }
    let read = |name: &String| std::fs::read_to_string(folder().join(name)).unwrap_or_default();
    let mut other: Vec<&String> =
        pages.iter().filter(|(name, text)| read(name) != *text).map(|(name, _)| name).collect();
    let files = std::fs::read_dir(folder()).expect("a folder").map(|file| file.expect("readable").file_name());
    let files: Vec<String> = files.map(|name| name.into_string().expect("UTF-8")).collect();
    other.extend(files.iter().filter(|file| pages.iter().all(|(name, _)| name != *file)));
    assert!(
        other.is_empty(),
        "help differs from tests/help in {other:?}: look at it, then run \
         `{REWRITE}=1 cargo test -p sparse-accelerate help_is_what_it_was` and commit what changed"
    );
}

#[test]
fn short_help_fits_a_screen() {
    for (name, text) in all_pages().iter().filter(|(name, _)| name.ends_with(".short.txt")) {
        let (lines, widest) = (text.lines().count(), text.lines().map(|line| line.chars().count()).max());
        assert!(lines <= LINES && widest <= Some(COLUMNS), "{name}: {lines} lines, the widest {widest:?}\n{text}");
    }
}

#[test]
fn headings_come_in_one_order() {
    const ORDER: [&str; 5] = ["Model", "Prompt", "Attention", "Sampling", "Output"];
    for (name, text) in all_pages() {
        let places: Vec<_> =
            text.lines().filter_map(|line| ORDER.iter().position(|h| line == format!("{h}:"))).collect();
        assert!(places.is_sorted(), "{name}: {places:?}");
    }
}

#[test]
fn flags_of_a_kind_stand_under_one_heading() {
    fn check(command: &Command) {
        for flag in command.get_arguments() {
            let heading = match flag.get_id().as_str() {
                "model" | "threads" => "Model",
                "prompt" | "prompt_file" | "texts" | "prompts" | "messages" => "Prompt",
                "attention" | "recall" | "budget" | "receipt" => "Attention",
                "temperature" | "top_p" => "Sampling",
                "json" | "out" | "html" | "max_tokens" => "Output",
                _ => continue,
            };
            assert_eq!(flag.get_help_heading(), Some(heading), "--{} of {}", flag.get_id(), command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&command());
}
