//! Files that are cut, written over or replaced while an engine uses them: the same answer as before, or an error.

mod small_model;

use runtime::engine::{Engine, EngineOptions};
use runtime::request::{AttentionMode, Device, Request};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// What the child does to the files of the folder it is given.
const ACTION: &str = "SMALL_MODEL_ACTION";
const FOLDER: &str = "SMALL_MODEL_FOLDER";

fn engine(folder: &Path) -> Engine {
    let options = EngineOptions { device: Device::Cpu, threads: 1, ..EngineOptions::default() };
    Engine::load(folder.to_str().expect("UTF-8"), &options, &mut |_| {}).expect("a whole model")
}

fn answer(engine: &mut Engine) -> Vec<u32> {
    let prompt = engine.encode("What changes while it is read?").expect("bytes");
    let request = Request { attention: AttentionMode::Dense, max_tokens: 20, ..Request::default() };
    engine.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).expect("an answer").tokens
}

/// Weights in a map would end the process by a signal here, so it has one of its own.
#[test]
fn the_answer_stays_the_same_whatever_happens_to_the_files() {
    for action in ["cut", "overwrite", "replace", "remove"] {
        let folder = tempfile::tempdir().unwrap();
        small_model::write(folder.path());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env(ACTION, action)
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(child.status.success(), "{action}: {} {}", child.status, String::from_utf8_lossy(&child.stderr));
    }
}

#[test]
#[ignore = "the other test runs it"]
fn in_a_process_of_its_own() {
    let (Ok(action), Ok(folder)) = (std::env::var(ACTION), std::env::var(FOLDER)) else { return };
    let mut engine = engine(Path::new(&folder));
    let before = answer(&mut engine);
    assert!(before.len() > 1, "{before:?}");
    for (name, bytes) in small_model::files() {
        let path = Path::new(&folder).join(name);
        match action.as_str() {
            "cut" => fs::File::options().write(true).open(path).unwrap().set_len(1).unwrap(),
            "overwrite" => fs::write(path, vec![0xff; bytes.len()]).unwrap(),
            "replace" => {
                fs::write(path.with_extension("new"), "something else").unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            }
            _ => fs::remove_file(path).unwrap(),
        }
    }
    assert_eq!(answer(&mut engine), before, "{action}");
}
