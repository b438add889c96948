//! The file of samples beside `--json`: what an interrupted evaluation goes on with.

use crate::arguments::ModelArguments;
use crate::{note, progress};
use eval::origin::Origin;
use eval::samples::{Head, Samples};
use runtime::engine::Engine;
use std::path::{Path, PathBuf};

/// Where samples will be kept, and the files that they hold for; nothing where no file was asked for.
pub struct Plan(Option<(PathBuf, Origin)>);

/// Looks at all files that results depend on. Before the model is loaded, so that one that changes meanwhile is noticed.
///
/// # Errors
/// When one of them cannot be read.
pub fn plan(model: &ModelArguments, inputs: &[PathBuf], json: &Option<PathBuf>) -> anyhow::Result<Plan> {
    // A pipe or a device keeps nothing.
    let file = json.as_deref().filter(|json| !json.exists() || json.is_file());
    let Some(json) = file else { return Ok(Plan(None)) };
    progress::fetch(&model.model)?;
    let inputs: Vec<PathBuf> = inputs.iter().chain(&model.calibration).cloned().collect();
    Ok(Plan(Some((beside(json), Origin::read(&model.model, &inputs)?))))
}

impl Plan {
    /// Opens the file, and says what is in it.
    ///
    /// # Errors
    /// When it cannot be read or written, another run writes into it, or it holds something else.
    pub fn open(self, engine: &Engine) -> anyhow::Result<Samples> {
        let Plan(Some((path, origin))) = self else { return Ok(Samples::in_memory()) };
        let command = without_results(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()));
        let samples = Samples::open(&path, &Head { origin: origin.on(engine.device_name()), command })?;
        if let Some(what) = samples.changed() {
            note(&format!("{what} is not that of the samples in {}: all is measured anew", path.display()));
        }
        if !samples.is_empty() {
            note(&format!("what is in {} is not measured again: delete it to begin anew", path.display()));
        }
        Ok(samples)
    }
}

/// `passkey.samples.jsonl` for `passkey.json`.
fn beside(json: &Path) -> PathBuf {
    match json.extension().is_some_and(|ending| ending == "json") {
        true => json.with_extension("samples.jsonl"),
        false => {
            let mut name = json.as_os_str().to_owned();
            name.push(".samples.jsonl");
            name.into()
        }
    }
}

/// A command without the flags that say where results go: moved results are the same.
fn without_results(words: impl Iterator<Item = String>) -> Vec<String> {
    let is_result = |word: &str| ["--json", "--html"].contains(&word);
    let mut kept = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((flag, _)) if is_result(flag) => {}
            _ if is_result(&word) => drop(words.next()),
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_beside_their_results() {
        for (json, samples) in [
            ("a/passkey.json", "a/passkey.samples.jsonl"),
            ("run.v1.json", "run.v1.samples.jsonl"),
            ("run.v1", "run.v1.samples.jsonl"),
            ("run", "run.samples.jsonl"),
        ] {
            assert_eq!(beside(Path::new(json)), Path::new(samples));
        }
    }

    #[test]
    fn where_results_go_is_no_part_of_what_was_measured() {
        let words = |line: &str| without_results(line.split(' ').map(String::from)).join(" ");
        assert_eq!(
            words("eval ablation --json a.json --tail 4 --html=b.html --texts a"),
            "eval ablation --tail 4 --texts a"
        );
        assert_eq!(words("eval passkey --json"), "eval passkey");
    }
}
