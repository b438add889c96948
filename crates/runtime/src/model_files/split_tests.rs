//! Models in several GGUF files, opened by any of them.

use super::*;
use crate::formats::FileError;
use crate::formats::gguf::tests::Writer;
use crate::formats::parts::{COUNT, NO, TENSORS};
use crate::weights::TensorName;
use crate::weights::tests::{metadata, tensors};
use tempfile::TempDir;

/// A whole model.
fn whole() -> Writer {
    tensors(metadata())
}

/// The same in parts, the first of which has metadata only or tensors, too.
fn split(count: usize, tensors_in_first: bool) -> Vec<Writer> {
    let whole = whole();
    let mut parts: Vec<Writer> = (0..count).map(|_| Writer::new()).collect();
    parts[0].entries = whole.entries;
    let total = whole.tensors.len();
    for (n, tensor) in whole.tensors.into_iter().enumerate() {
        let part = if tensors_in_first { n % count } else { 1 + n % (count - 1) };
        parts[part].tensors.push(tensor);
    }
    let numbered = |(no, part): (usize, Writer)| {
        let short = |part: Writer, key, n: usize| part.raw(key, 2, &(n as u16).to_le_bytes());
        short(short(part, NO, no), COUNT, count).raw(TENSORS, 5, &(total as i32).to_le_bytes())
    };
    parts.into_iter().enumerate().map(numbered).collect()
}

fn write(parts: &[Writer]) -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let first = PartName { stem: "tiny-q4".into(), no: 1, count: parts.len() };
    let paths: Vec<PathBuf> = first.all().map(|name| folder.path().join(name)).collect();
    parts.iter().zip(&paths).for_each(|(part, path)| std::fs::write(path, part.bytes()).unwrap());
    (folder, paths)
}

fn load(path: &Path) -> Result<ModelWeights, LoadError> {
    ModelFiles::locate(path.to_str().unwrap())?.open()
}

fn message(path: &Path) -> String {
    load(path).err().expect("something is wrong").to_string()
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.gguf");
    std::fs::write(&path, whole().bytes()).unwrap();
    let one = load(&path).unwrap();
    for (count, tensors_in_first) in [(2, true), (3, false), (5, true)] {
        let (_folder, paths) = write(&split(count, tensors_in_first));
        for path in &paths {
            let parts = load(path).unwrap();
            for name in TensorName::of(one.config()) {
                assert_eq!(parts.tensor(name).unwrap().bytes(), one.tensor(name).unwrap().bytes(), "{name:?}");
            }
            let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
            assert_eq!(parts.total_bytes(), bytes);
            assert_eq!(ModelFiles::Gguf(path.clone()).name(), "tiny-q4");
            assert_eq!(gguf_files(path), paths);
        }
    }
}

#[test]
fn a_part_that_is_written_to_is_noticed() {
    let (_folder, paths) = write(&split(3, true));
    let weights = load(&paths[0]).unwrap();
    std::fs::write(&paths[2], "shorter").unwrap();
    assert!(
        matches!(weights.check_unchanged(), Err(LoadError::File(FileError::Changed { path, .. })) if path == paths[2])
    );
}

#[test]
fn what_does_not_belong_together_is_an_error_that_says_so() {
    let (_folder, paths) = write(&split(3, true));
    std::fs::remove_file(&paths[1]).unwrap();
    for path in [&paths[0], &paths[2]] {
        let message = message(path);
        assert!(
            message.contains("00002-of-00003.gguf") && message.contains("part 2 of 3 of a split model is missing"),
            "{message}"
        );
    }
    // A part of the same number of fewer, under the name of this one.
    let (_other, others) = write(&split(2, true));
    std::fs::copy(&others[1], &paths[1]).unwrap();
    let wrong = message(&paths[0]);
    assert!(wrong.contains("00002-of-00003") && wrong.contains("(Some(1), Some(2))"), "{wrong}");

    let renamed = paths[0].with_file_name("model.gguf");
    std::fs::copy(&paths[0], &renamed).unwrap();
    let renamed = message(&renamed);
    assert!(renamed.contains("part 1 of 3") && renamed.contains("NAME-00001-of-00003.gguf"), "{renamed}");

    let mut twice = split(2, true);
    let repeated = twice[0].tensors[0].clone();
    twice[1].tensors.push(repeated);
    let (_folder, paths) = write(&twice);
    let twice = message(&paths[0]);
    assert!(twice.contains("token_embd.weight") && twice.contains("another model"), "{twice}");

    let mut lacking = split(2, true);
    lacking[1].tensors.pop();
    let (_folder, paths) = write(&lacking);
    let lacking = message(&paths[1]);
    assert!(lacking.contains("10 tensors") && lacking.contains("says 11"), "{lacking}");

    let mut foreign = split(2, true);
    foreign[1] = std::mem::replace(&mut foreign[1], Writer::new()).text("general.architecture", "qwen2");
    let (_folder, paths) = write(&foreign);
    let foreign = message(&paths[1]);
    assert!(foreign.contains("general.architecture") && foreign.contains("another model"), "{foreign}");
}

#[test]
fn parts_are_known_by_their_names() {
    let name = PartName::parse("m-of-q4-00002-of-00003.gguf").unwrap();
    assert_eq!(name, PartName { stem: "m-of-q4".into(), no: 2, count: 3 });
    assert_eq!(name.all().last().unwrap(), "m-of-q4-00003-of-00003.gguf");
    for other in ["m.gguf", "m-2-of-3.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-00001-of-00001.gguf"]
    {
        assert_eq!(PartName::parse(other), None, "{other}");
    }
}
