//! Samples that are kept as they are finished, so that an evaluation that was interrupted goes on where it was.
//!
//! A task asks for each of its samples by a [`Key`]. What an earlier run of the same [`Head`] has finished is read from its
//! file; everything else is made, and appended before it is given back. A run that is killed loses the sample in flight, and
//! one that goes on computes its scores from all samples, as if it had never been interrupted.

mod file;

use crate::EvalError;
use crate::origin::Origin;
use file::SampleFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which sample of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Name of the task.
    pub task: String,
    /// Length asked for, in tokens.
    pub length: usize,
    /// Which prompt or text, from 0.
    pub index: usize,
    /// Seed of what is drawn; 0 where nothing is.
    pub seed: u64,
    /// What was done with it: an attention mode, a variant, or `prompt` for the prompt itself.
    pub mode: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} of {} tokens, {}", self.task, self.index, self.length, self.mode)
    }
}

/// What the samples of a file hold for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Model, texts, program and machine.
    pub origin: Origin,
    /// The words of the command, without the files it writes.
    pub command: Vec<String>,
}

impl Head {
    /// What differs from an earlier one, in words; nothing where nothing does.
    pub fn changed_since(&self, earlier: &Head) -> Option<&'static str> {
        let command = (self.command != earlier.command).then_some("the command");
        self.origin.changed_since(&earlier.origin).or(command)
    }
}

/// The finished samples of an evaluation.
#[derive(Default)]
pub struct Samples {
    finished: HashMap<Key, Value>,
    file: Option<SampleFile>,
    changed: Option<&'static str>,
}

impl Samples {
    /// Samples that no file keeps.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those of the file at `path`, which is made if it is not there, and is this run's alone from now on. Where its head is
    /// not `head` it begins anew, and [`changed`](Self::changed) says why.
    ///
    /// # Errors
    /// When the file cannot be read or written, another run writes into it, or it holds something else.
    pub fn open(path: &Path, head: &Head) -> Result<Self, EvalError> {
        let opened = SampleFile::open(path, head)?;
        Ok(Self { finished: opened.finished, file: Some(opened.file), changed: opened.changed })
    }

    /// Where they are kept.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(SampleFile::path)
    }

    /// When the first of them was begun, where a file says so: ISO 8601, UTC.
    pub fn began(&self) -> Option<&str> {
        self.file.as_ref().map(SampleFile::began)
    }

    /// How many are finished, prompts included.
    pub fn len(&self) -> usize {
        self.finished.len()
    }

    /// Whether none is finished.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty()
    }

    /// What of the file's head was not as it is now, so that it began anew.
    pub fn changed(&self) -> Option<&'static str> {
        self.changed
    }

    /// The sample of this key: as it was finished before, else as `make` makes it, and kept from then on.
    ///
    /// # Errors
    /// When it cannot be made, written, or read.
    pub fn once<S: Serialize + DeserializeOwned>(
        &mut self,
        key: Key,
        make: impl FnOnce() -> Result<S, EvalError>,
    ) -> Result<S, EvalError> {
        if let Some(value) = self.finished.get(&key) {
            return S::deserialize(value).map_err(|source| self.unlike(&key, source));
        }
        let sample = make()?;
        let value = serde_json::to_value(&sample).map_err(|source| self.unlike(&key, source))?;
        if let Some(file) = &mut self.file {
            file.append(&key, &value)?;
        }
        self.finished.insert(key, value);
        Ok(sample)
    }

    fn unlike(&self, key: &Key, source: serde_json::Error) -> EvalError {
        let path = self.path().map_or_else(PathBuf::new, Path::to_owned);
        EvalError::KeptSample { path, key: key.to_string(), source }
    }
}

#[cfg(test)]
mod tests;
