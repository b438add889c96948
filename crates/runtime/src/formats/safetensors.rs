//! Hugging Face safetensors, one file or several.

use super::{Encoding, FileError, TensorInfo, WeightFile, read_json};
use ::safetensors::tensor::{Dtype, Metadata};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

/// The files of a folder and where each tensor lies.
pub(crate) struct Shards {
    files: Vec<Shard>,
    /// Which file holds a tensor.
    file_of: BTreeMap<String, usize>,
}

struct Shard {
    file: WeightFile,
    metadata: Metadata,
    /// Where tensor data starts.
    data_start: u64,
}

/// Where a tensor lies.
pub(crate) struct Place<'a> {
    pub(crate) info: TensorInfo,
    shard: &'a Shard,
    /// Bytes of the file.
    bytes: Range<u64>,
}

impl Place<'_> {
    /// Reads some of its bytes.
    pub(crate) fn read(&self, part: Range<u64>) -> Result<Vec<u8>, FileError> {
        self.shard.file.read(self.bytes.start + part.start..self.bytes.start + part.end)
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Lists the files of a model that has more than one.
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";

/// Names of the safetensors files that belong to the model in a folder, whether they are there or not.
pub(crate) fn shard_names(folder: &Path) -> Result<Vec<String>, FileError> {
    let index_path = folder.join(SHARD_INDEX);
    if !index_path.exists() {
        return Ok(vec!["model.safetensors".into()]);
    }
    let index: Index = read_json(&index_path)?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // A shard is a file beside the index; anything else would let an index read elsewhere.
    if let Some(bad) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        let message = format!("weight_map names `{bad}`, expected a file in the same folder");
        return Err(FileError::Json { path: index_path, message });
    }
    Ok(names.into_iter().collect())
}

impl Shards {
    pub(crate) fn open(folder: &Path) -> Result<Self, FileError> {
        let names = shard_names(folder)?;
        let files = names.iter().map(|name| Shard::open(&folder.join(name))).collect::<Result<Vec<_>, _>>()?;
        let mut file_of = BTreeMap::new();
        for (n, shard) in files.iter().enumerate() {
            file_of.extend(shard.metadata.tensors().into_keys().map(|name| (name, n)));
        }
        Ok(Self { files, file_of })
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|shard| shard.file.len()).sum()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.file_of.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.file_of.keys().map(String::as_str)
    }

    pub(crate) fn check_unchanged(&self) -> Result<(), FileError> {
        self.files.iter().try_for_each(|shard| shard.file.check_unchanged())
    }

    /// Where a tensor lies; nothing where it does not.
    ///
    /// # Errors
    /// When it is stored as no model is.
    pub(crate) fn place(&self, name: &str) -> Result<Option<Place<'_>>, FileError> {
        let Some(shard) = self.file_of.get(name).map(|n| &self.files[*n]) else { return Ok(None) };
        let Some(info) = shard.metadata.info(name) else { return Ok(None) };
        let fail = |message| FileError::Safetensors { path: shard.file.path().into(), message };
        let encoding = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::BF16,
            other => {
                return Err(fail(format!(
                    "tensor `{name}` is {other:?}; supported: F32 F16 BF16; take the original model or its GGUF files"
                )));
            }
        };
        let (rows, cols) = match info.shape[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            // Experts, one above the other; the library has counted the bytes.
            [matrices, rows, cols] => (matrices.saturating_mul(rows), cols),
            _ => {
                return Err(fail(format!(
                    "tensor `{name}` has shape {:?}, expected one to three dimensions",
                    info.shape
                )));
            }
        };
        let (from, to) = info.data_offsets;
        let bytes = shard.data_start + from as u64..shard.data_start + to as u64;
        Ok(Some(Place { info: TensorInfo { rows, cols, encoding }, shard, bytes }))
    }
}

/// Longest head that the library writes.
const MAX_HEAD_BYTES: u64 = 100_000_000;

impl Shard {
    fn open(path: &Path) -> Result<Self, FileError> {
        let file = WeightFile::open(path)?;
        let fail = |what: String| {
            let message = format!("{what}; download the file again");
            FileError::Safetensors { path: path.into(), message }
        };
        let start = file.read(0..8.min(file.len()))?.try_into();
        let head_len = u64::from_le_bytes(start.map_err(|_| fail(format!("the file has {} bytes", file.len())))?);
        let data_start = head_len.saturating_add(8);
        if head_len > MAX_HEAD_BYTES || data_start > file.len() {
            let len = file.len();
            return Err(fail(format!("not a safetensors file, or cut: a head of {head_len} bytes in a file of {len}")));
        }
        // The library checks that tensors follow one another, and fit their shapes and types.
        let metadata: Metadata =
            serde_json::from_slice(&file.read_head(8..data_start)?).map_err(|error| fail(error.to_string()))?;
        let data = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        match data.checked_add(data_start) {
            Some(expected) if expected == file.len() => Ok(Self { file, metadata, data_start }),
            _ => Err(fail(format!(
                "the file has {} bytes, its tensors {data} behind the first {data_start}",
                file.len()
            ))),
        }
    }
}
