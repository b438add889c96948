//! Files of the fuzzers' corpus, and changed ones: what fuzzing does with a file is done with some at every commit.
//!
//! One that ends the process stays in cargo's temporary folder of tests, under the name of its target.

#[path = "../../../fuzz/readers/lib.rs"]
mod readers;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// For all changed files of a target: a slow machine tries fewer.
const TIME: Duration = Duration::from_secs(3);
/// Far longer than any of these small files takes, also on a machine that does other work.
const LONGEST: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Number(Index, u64, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    // With these most of a text stays what it was.
    let signs = b"0123456789-.eE,:[]{}()\"'\\%|";
    let edges = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 48, i64::MAX as u64, u64::MAX];
    prop_oneof![
        3 => (at(), prop::sample::select(signs.to_vec())).prop_map(|(at, sign)| Change::Byte(at, sign)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        2 => (at(), 1usize..40).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => (at(), 1usize..40, 1usize..200).prop_map(|(at, len, times)| Change::Repeat(at, len, times)),
        2 => (at(), prop::sample::select(edges.to_vec()), 1usize..9).prop_map(|(at, n, len)| Change::Number(at, n, len)),
        1 => at().prop_map(Change::Cut),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let part = |at: &Index, len: usize| at.index(bytes.len())..(at.index(bytes.len()) + len).min(bytes.len());
        match self {
            Change::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Remove(at, len) => drop(bytes.drain(part(at, *len))),
            Change::Repeat(at, len, times) => {
                let part = part(at, *len);
                let repeated = bytes[part.clone()].repeat(*times);
                bytes.splice(part, repeated);
            }
            Change::Number(at, number, len) => {
                let part = part(at, *len);
                bytes[part.clone()].copy_from_slice(&number.to_le_bytes()[..part.len()]);
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

/// Names and bytes of a target's files.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("a whole file"))
        })
        .collect();
    files.sort();
    files
}

/// Reads whole files and changed ones until the time is over.
fn change_files(target: &str) {
    let read = readers::reader(target).expect("a target");
    let files = corpus(target);
    assert!(files.iter().any(|(_, bytes)| read(bytes)), "no file of fuzz/corpus/{target} is good when it is whole");

    let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    let mut runner = TestRunner::deterministic();
    let changes = prop::collection::vec(change(), 1..5);
    let (begin, mut count) = (Instant::now(), 0);
    'time: loop {
        for (name, whole) in &files {
            let mut bytes = whole.clone();
            let changes = changes.new_tree(&mut runner).expect("any changes will do").current();
            changes.iter().for_each(|change| change.apply(&mut bytes));
            fs::write(&left, &bytes).expect("room for the file");
            let started = Instant::now();
            read(&bytes);
            let took = started.elapsed();
            assert!(took < LONGEST, "{name} took {took:?} with {changes:?}: see {}", left.display());
            count += 1;
            if begin.elapsed() > TIME {
                break 'time;
            }
        }
    }
    fs::remove_file(left).expect("it was written above");
    println!("{target}: {count} changed files");
}

/// A test for each target, by name: they run beside one another, and one that fails is known.
macro_rules! targets {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            change_files(stringify!($target));
        })*

        #[test]
        fn no_target_is_forgotten() {
            assert_eq!(readers::READERS.map(|(name, _)| name), [$(stringify!($target)),*]);
        }
    };
}

targets!(
    calibration_file,
    chat_template,
    gguf_parse,
    model_folder,
    pattern_file,
    plan_file,
    safetensors_file,
    tokenizer_json
);
