//! Hugging Face safetensors, one file or several.

use super::{Encoding, LoadError, Tensor, map};
use ::safetensors::tensor::{Dtype, Metadata, SafeTensors};
use memmap2::Mmap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The mapped files of a folder and where each tensor lies.
pub(super) struct Shards {
    files: Vec<Shard>,
    /// Which file holds a tensor.
    file_of: BTreeMap<String, usize>,
}

struct Shard {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where tensor data starts.
    data_start: usize,
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What every model has, its name whole.
const FIRST: &str = "model.embed_tokens.weight";

/// Lists the files of a model that has more than one.
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";

/// Names of the safetensors files that belong to the model in a folder, whether they are there or not.
pub(crate) fn shard_names(folder: &Path) -> Result<Vec<String>, LoadError> {
    let index_path = folder.join(SHARD_INDEX);
    if !index_path.exists() {
        return Ok(vec!["model.safetensors".into()]);
    }
    let index: Index = crate::config::read_json(&index_path)?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // A shard is a file beside the index; anything else would let an index read elsewhere.
    if let Some(bad) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        let message = format!("weight_map names `{bad}`, expected a file in the same folder");
        return Err(LoadError::Json { path: index_path, message });
    }
    Ok(names.into_iter().collect())
}

impl Shards {
    pub(super) fn open(folder: &Path) -> Result<Self, LoadError> {
        let names = shard_names(folder)?;
        let files = names.iter().map(|name| Shard::open(folder.join(name))).collect::<Result<Vec<_>, _>>()?;
        let mut file_of = BTreeMap::new();
        for (n, shard) in files.iter().enumerate() {
            file_of.extend(shard.metadata.tensors().into_keys().map(|name| (name, n)));
        }
        Ok(Self { files, file_of })
    }

    pub(super) fn maps(&self) -> impl Iterator<Item = &Mmap> {
        self.files.iter().map(|shard| &shard.map)
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|shard| shard.map.len() as u64).sum()
    }

    /// A tensor's name in these files: base models, saved without their output head, lack the prefix.
    pub(super) fn spelling(&self, name: String) -> String {
        match name.strip_prefix("model.") {
            Some(bare) if !self.file_of.contains_key(FIRST) && self.file_of.contains_key(bare) => bare.into(),
            _ => name,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.file_of.keys().map(String::as_str)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Tensor<'_>, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        let shard = &self.files[*self.file_of.get(name).ok_or_else(missing)?];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        let fail = |message| LoadError::Safetensors { path: shard.path.clone(), message };
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
            _ => {
                return Err(fail(format!(
                    "tensor `{name}` has shape {:?}, expected one or two dimensions",
                    info.shape
                )));
            }
        };
        let (from, to) = info.data_offsets;
        Ok(Tensor { rows, cols, encoding, bytes: &shard.map[shard.data_start + from..shard.data_start + to] })
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let map = map(&path)?;
        // Checks that offsets are contiguous, in the file, and fit shapes and types.
        SafeTensors::deserialize(&map)
            .and_then(|_| SafeTensors::read_metadata(&map))
            .map(|(header_len, metadata)| (header_len + 8, metadata))
            .map_err(|error| LoadError::Safetensors {
                path: path.clone(),
                message: format!("{error}; download the file again"),
            })
            .map(|(data_start, metadata)| Self { path, metadata, data_start, map })
    }
}
