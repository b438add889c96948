//! The file: a line that says what its samples hold for, then one line for each. A line counts when its end is there.

use super::{Head, Key};
use crate::{EvalError, lock, results};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How a file of samples begins, by which it is told from a file of somebody else.
const BEGINNING: &[u8] = br#"{"samples_of":"#;

/// Open, locked, and at its end.
pub(super) struct SampleFile {
    file: File,
    path: PathBuf,
    /// When its first sample was to be made: ISO 8601, UTC.
    began: String,
}

/// A file, and what was in it.
pub(super) struct Opened {
    pub file: SampleFile,
    pub finished: HashMap<Key, Value>,
    pub changed: Option<&'static str>,
}

/// The first line. What other versions of the program wrote there is no head of ours, but a head.
#[derive(Serialize, Deserialize)]
struct FirstLine<H> {
    samples_of: H,
    began: String,
}

#[derive(Serialize, Deserialize)]
struct Line<K, V> {
    key: K,
    sample: V,
}

impl SampleFile {
    pub(super) fn open(path: &Path, head: &Head) -> Result<Opened, EvalError> {
        let cannot = |source| EvalError::SampleFile { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(cannot)?;
        if !lock::lock(&file, lock::WITH_A_MODEL).map_err(cannot)? {
            return Err(EvalError::SampleFileInUse { path: path.to_owned() });
        }
        let mut file = Self { file, path: path.to_owned(), began: String::new() };
        let mut bytes = Vec::new();
        file.file.read_to_end(&mut bytes).map_err(cannot)?;
        let is_ours =
            if bytes.len() < BEGINNING.len() { BEGINNING.starts_with(&bytes) } else { bytes.starts_with(BEGINNING) };
        if !is_ours {
            return Err(EvalError::NoSampleFile { path: path.to_owned() });
        }
        // What follows the last line end was being written when its run was killed.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        let changed = match lines.next() {
            // Not even a head: nothing was lost that anybody has to hear of.
            None => {
                file.begin(head)?;
                return Ok(Opened { file, finished: HashMap::new(), changed: None });
            }
            Some(line) => match serde_json::from_slice::<FirstLine<Head>>(line) {
                Ok(FirstLine { samples_of, began }) => {
                    file.began = began;
                    head.changed_since(&samples_of)
                }
                Err(_) => Some("the program"),
            },
        };
        if changed.is_some() {
            file.begin(head)?;
            return Ok(Opened { file, finished: HashMap::new(), changed });
        }
        let mut finished = HashMap::new();
        for (n, line) in lines.enumerate() {
            let Line { key, sample } = serde_json::from_slice(line).map_err(|source| EvalError::SampleLine {
                path: path.to_owned(),
                line: n + 2,
                source,
            })?;
            finished.insert(key, sample);
        }
        file.cut(whole as u64).map_err(cannot)?;
        Ok(Opened { file, finished, changed: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn began(&self) -> &str {
        &self.began
    }

    /// Appends a sample, which is on the disk when this returns.
    pub(super) fn append(&mut self, key: &Key, sample: &Value) -> Result<(), EvalError> {
        self.write_line(&Line { key, sample })
    }

    fn begin(&mut self, head: &Head) -> Result<(), EvalError> {
        self.cut(0).map_err(|source| EvalError::SampleFile { path: self.path.clone(), source })?;
        self.began = results::date_now();
        self.write_line(&FirstLine { samples_of: head, began: self.began.clone() })
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }

    fn write_line(&mut self, line: &impl Serialize) -> Result<(), EvalError> {
        let mut write = || {
            let mut bytes = serde_json::to_vec(line)?;
            bytes.push(b'\n');
            self.file.write_all(&bytes)?;
            self.file.sync_data()
        };
        write().map_err(|source| EvalError::SampleFile { path: self.path.clone(), source })
    }
}
