//! A GGUF model in several files, as `gguf-split` of llama.cpp writes them: the first has all metadata, each has tensors of its
//! own.

use super::FileError;
use super::file::WeightFile;
use super::gguf::{Gguf, GgufError};
use std::path::Path;

/// Bytes of a GGUF file that hold the heads of nearly all models.
const HEAD_BYTES: u64 = 8 << 20;

/// Which part this is; the first is 0.
pub(crate) const NO: &str = "split.no";
pub(crate) const COUNT: &str = "split.count";
/// Tensors of all parts.
pub(crate) const TENSORS: &str = "split.tensors.count";

/// What the name `m-00002-of-00003.gguf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartName {
    /// `m`, with its folder.
    pub(crate) stem: String,
    /// Which part; the first is 1.
    pub(crate) no: usize,
    /// How many there are.
    pub(crate) count: usize,
}

impl PartName {
    /// `None` of a file that is not named as a part of several.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, no) = rest.rsplit_once('-')?;
        let number = |digits: &str| match digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<usize>().ok(),
            false => None,
        };
        let (no, count) = (number(no)?, number(count)?);
        (1 <= no && no <= count && count >= 2).then(|| Self { stem: stem.into(), no, count })
    }

    /// Names of all parts, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|no| format!("{}-{no:05}-of-{:05}.gguf", self.stem, self.count))
    }
}

/// Opens a GGUF model by any of its files; tensors say which file they are in.
pub(crate) fn open(path: &Path) -> Result<(Vec<WeightFile>, Gguf), FileError> {
    let (file, gguf) = open_file(path)?;
    let fail = |message| FileError::Parts { path: path.into(), message };
    let size = |gguf: &Gguf, key: &str, path: &Path| {
        gguf.optional_size(key).map_err(|error| FileError::Gguf { path: path.into(), error })
    };
    let count = match size(&gguf, COUNT, path)? {
        None | Some(0 | 1) => return Ok((vec![file], gguf)),
        Some(count) => count,
    };
    let no = size(&gguf, NO, path)?.unwrap_or(0).saturating_add(1);
    let named = path.file_name().and_then(|name| PartName::parse(name.to_str()?));
    let Some(name) = named.filter(|name| (name.no, name.count) == (no, count)) else {
        return Err(fail(format!(
            "it says that it is part {no} of {count}, and its name does not: call it `NAME-{no:05}-of-{count:05}.gguf`, and the \
             others beside it likewise"
        )));
    };
    let (mut files, mut whole) = (Vec::new(), None::<Gguf>);
    for (part, name) in name.all().enumerate() {
        let path = path.with_file_name(name);
        if !path.exists() {
            let message =
                format!("part {} of {count} of a split model is missing: get all parts into one folder", part + 1);
            return Err(FileError::Parts { path, message });
        }
        let (file, gguf) = open_file(&path)?;
        let found = (size(&gguf, NO, &path)?, size(&gguf, COUNT, &path)?);
        let expected = (Some(part), Some(count));
        if found != expected {
            let message = format!(
                "its {NO} and {COUNT} are {found:?}, its name says {expected:?}: take all parts from one model, under the names \
                 they were published with"
            );
            return Err(FileError::Parts { path, message });
        }
        match &mut whole {
            None => whole = Some(gguf),
            Some(whole) => {
                whole.append(gguf, part).map_err(|what| FileError::Parts { path, message: of_another(&what) })?
            }
        }
        files.push(file);
    }
    let gguf = whole.expect("there are at least two parts");
    let (found, expected) = (gguf.tensors().count(), size(&gguf, TENSORS, path)?);
    if expected.is_some_and(|expected| expected != found) {
        let expected = expected.unwrap_or_default();
        return Err(fail(of_another(&format!("all parts have {found} tensors, the first says {expected}"))));
    }
    Ok((files, gguf))
}

fn of_another(what: &str) -> String {
    format!("{what}, so a part is of another model: take all parts from one")
}

fn open_file(path: &Path) -> Result<(WeightFile, Gguf), FileError> {
    let file = WeightFile::open(path)?;
    let gguf = head(&file)?;
    Ok((file, gguf))
}

/// Parses the head of a GGUF file, of which nobody says how long it is.
fn head(file: &WeightFile) -> Result<Gguf, FileError> {
    let mut bytes = HEAD_BYTES.min(file.len());
    loop {
        match Gguf::parse_head(&file.read_head(0..bytes)?, file.len()) {
            // The file has what this piece of it lacks.
            Err(GgufError::Truncated { needed, .. }) if bytes < needed && needed <= file.len() => {
                bytes = needed.max(2 * bytes).min(file.len());
            }
            result => return result.map_err(|error| FileError::Gguf { path: file.path().into(), error }),
        }
    }
}
