//! Model files on disk to tensors the decoder can ask for by role.

mod error;
mod names;
mod need;
mod random;

use crate::config::{Architecture, ConfigError, ModelConfig, ROPE_TABLES, StretchContext};
use crate::formats::gguf::Gguf;
use crate::formats::{Encoding, Shards, Tensor, TensorInfo, WeightFile, parts};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

pub use error::LoadError;
pub use names::{ExpertPart, LayerPart, TensorName};
use names::{Fused, MIXTRAL_MIXTURE, MIXTURE};
pub use random::RandomWeights;

/// The tensors of a model: known from the heads of its files, and read when they are asked for.
pub struct ModelWeights {
    config: ModelConfig,
    storage: Storage,
}

enum Storage {
    Gguf { files: Vec<WeightFile>, gguf: Gguf },
    Safetensors(Shards),
    Random(random::Random),
}

impl ModelWeights {
    /// Reads the heads of a GGUF file, or of all parts of a split one, and checks that every tensor the architecture needs is there
    /// in the right shape.
    ///
    /// # Errors
    /// [`LoadError`]; nothing large has been read by then.
    pub fn open_gguf(path: &Path) -> Result<Self, LoadError> {
        let (files, gguf) = parts::open(path)?;
        let mut tables = HashMap::new();
        for name in ROPE_TABLES {
            if let Some(place) = gguf.tensor(name) {
                tables.insert(name, files[place.part].read(in_file(&place.bytes))?);
            }
        }
        let config = ModelConfig::from_gguf(&gguf, &|name| tables.get(name).cloned())
            .map_err(|error| LoadError::Config { path: path.into(), error })?;
        let weights = Self { config, storage: Storage::Gguf { files, gguf } };
        weights.check_tensors()?;
        Ok(weights)
    }

    /// As [`open_gguf`](Self::open_gguf), for a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// As there.
    pub fn open_folder(folder: &Path) -> Result<Self, LoadError> {
        let config = ModelConfig::from_folder(folder)?;
        let weights = Self { config, storage: Storage::Safetensors(Shards::open(folder)?) };
        weights.check_tensors()?;
        Ok(weights)
    }

    /// Weights of the same shape as a model's, random and the same in every run.
    pub fn random(config: ModelConfig, kind: RandomWeights) -> Self {
        let random = random::Random::new(&config, kind, 0);
        Self { config, storage: Storage::Random(random) }
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Stretches the context; see [`ModelConfig::stretch`].
    ///
    /// # Errors
    /// When the model's own files do.
    pub fn stretch(&mut self, stretch: StretchContext) -> Result<(), ConfigError> {
        self.config.stretch(stretch)
    }

    /// Sets the context; see [`ModelConfig::set_context`].
    ///
    /// # Errors
    /// As there.
    pub fn set_context(&mut self, tokens: usize) -> Result<(), ConfigError> {
        self.config.set_context(tokens)
    }

    /// Metadata, when the model is a GGUF file.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.storage {
            Storage::Gguf { gguf, .. } => Some(gguf),
            Storage::Safetensors(_) | Storage::Random(_) => None,
        }
    }

    /// Bytes of the files.
    pub fn total_bytes(&self) -> u64 {
        match &self.storage {
            Storage::Gguf { files, .. } => files.iter().map(WeightFile::len).sum(),
            Storage::Safetensors(shards) => shards.total_bytes(),
            Storage::Random(_) => 0,
        }
    }

    /// What the files say of a tensor; none of it is read. [`TensorName::OutputHead`] of a model with tied embeddings is
    /// the token embedding; a bias that the files leave away has a shape all the same.
    ///
    /// # Errors
    /// When the files lack it.
    pub fn info(&self, name: TensorName) -> Result<TensorInfo, LoadError> {
        let name = self.untied(name);
        let (rows, cols) = name.shape(&self.config);
        if let Storage::Random(random) = &self.storage {
            return random.info(rows, cols);
        }
        if let Some((fused, first)) = self.fused(name)? {
            let info = self.stored_info(&fused)?;
            return Ok(TensorInfo { rows: first.len(), ..info });
        }
        match self.stored_info(&self.stored_name(name)) {
            // Some models have a bias on Q alone. Qwen2 has all three: there one that is missing was lost.
            Err(LoadError::MissingTensor { .. })
                if name.is_qkv_bias() && self.config.architecture != Architecture::Qwen2 =>
            {
                Ok(TensorInfo { rows, cols, encoding: Encoding::F32 })
            }
            Err(LoadError::MissingTensor { .. }) if name == TensorName::OutputHead => Err(LoadError::NoOutputHead),
            Err(LoadError::MissingTensor { name: own }) => {
                Err(LoadError::MissingTensor { name: self.expected_whole(name).unwrap_or(own) })
            }
            other => other,
        }
    }

    /// The tensor that GGUF files of today have in place of one an expert, where this file has not begun with the latter.
    fn expected_whole(&self, name: TensorName) -> Option<String> {
        let TensorName::Expert { .. } = name else { return None };
        let Fused { whole, first_part, .. } = name.fused(&self.config).into_iter().next()?;
        self.gguf()?.tensor(&first_part.in_gguf()).is_none().then(|| whole.in_gguf())
    }

    /// Reads a tensor; the name is as for [`info`](Self::info). A bias that the files leave away is zeros.
    ///
    /// # Errors
    /// When the files lack it, cannot be read, or are shorter than they were.
    pub fn tensor(&self, name: TensorName) -> Result<Tensor<'_>, LoadError> {
        let info = self.info(name)?;
        let name = self.untied(name);
        if let Storage::Random(random) = &self.storage {
            return random.tensor(info.rows, info.cols, name.place());
        }
        if let Some((fused, rows)) = self.fused(name)? {
            return self.stored_rows(&fused, rows);
        }
        match self.stored(&self.stored_name(name)) {
            Err(LoadError::MissingTensor { .. }) => Ok(Tensor::new(info, vec![0; info.bytes()])),
            other => other,
        }
    }

    /// What the files say of a tensor, by its name in them.
    fn stored_info(&self, name: &str) -> Result<TensorInfo, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        match &self.storage {
            Storage::Gguf { gguf, .. } => {
                let place = gguf.tensor(name).ok_or_else(missing)?;
                Ok(TensorInfo { rows: place.rows, cols: place.cols, encoding: place.encoding })
            }
            Storage::Safetensors(shards) => Ok(shards.place(name)?.ok_or_else(missing)?.info),
            Storage::Random(_) => Err(missing()),
        }
    }

    /// Reads vectors, one behind the other, as the decoder multiplies by them or adds them.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn vector(&self, names: &[TensorName]) -> Result<Vec<f32>, LoadError> {
        let mut values = Vec::new();
        for name in names {
            let offset = if name.is_norm() { self.config.norm_offset } else { 0.0 };
            values.extend(self.tensor(*name)?.to_f32().into_iter().map(|x| x + offset));
        }
        Ok(values)
    }

    /// The stored tensor that holds this one among others, and its rows of it: where files have one in place of several.
    fn fused(&self, name: TensorName) -> Result<Option<(String, Range<usize>)>, LoadError> {
        for Fused { whole, first_part, rows } in name.fused(&self.config) {
            if self.stored_info(&self.stored_name(first_part)).is_ok() {
                return Ok(None);
            }
            let (expected, stored) = (whole.shape(&self.config), self.stored_name(whole));
            match self.stored_info(&stored) {
                Ok(info) if (info.rows, info.cols) == expected => return Ok(Some((stored, rows))),
                Ok(TensorInfo { rows, cols, .. }) => {
                    return Err(LoadError::Shape { name: stored, expected, found: (rows, cols) });
                }
                Err(LoadError::MissingTensor { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads a tensor by its name in the files.
    fn stored(&self, name: &str) -> Result<Tensor<'static>, LoadError> {
        let rows = 0..self.stored_info(name)?.rows;
        self.stored_rows(name, rows)
    }

    /// Reads some rows of a tensor by its name in the files.
    fn stored_rows(&self, name: &str, rows: Range<usize>) -> Result<Tensor<'static>, LoadError> {
        let info = self.stored_info(name)?;
        let of_row = info.row_bytes() as u64;
        let part = rows.start as u64 * of_row..rows.end as u64 * of_row;
        let info = TensorInfo { rows: rows.len(), ..info };
        let missing = || LoadError::MissingTensor { name: name.into() };
        let bytes = match &self.storage {
            Storage::Gguf { files, gguf } => {
                let place = gguf.tensor(name).ok_or_else(missing)?;
                let start = in_file(&place.bytes).start;
                files[place.part].read(start + part.start..start + part.end)?
            }
            Storage::Safetensors(shards) => shards.place(name)?.ok_or_else(missing)?.read(part)?,
            Storage::Random(_) => return Err(missing()),
        };
        Ok(Tensor::new(info, bytes))
    }

    /// Says if a file was written to since it was opened: what was read before and after would not belong together.
    ///
    /// # Errors
    /// When one was.
    pub fn check_unchanged(&self) -> Result<(), LoadError> {
        match &self.storage {
            Storage::Gguf { files, .. } => Ok(files.iter().try_for_each(WeightFile::check_unchanged)?),
            Storage::Safetensors(shards) => Ok(shards.check_unchanged()?),
            Storage::Random(_) => Ok(()),
        }
    }

    fn untied(&self, name: TensorName) -> TensorName {
        match name {
            TensorName::OutputHead if self.config.tie_word_embeddings => TensorName::TokenEmbedding,
            name => name,
        }
    }

    fn check_tensors(&self) -> Result<(), LoadError> {
        let config = &self.config;
        for name in TensorName::of(config) {
            let TensorInfo { rows, cols, .. } = self.info(name)?;
            let (expected, found) = (name.shape(config), (rows, cols));
            if found != expected {
                return Err(LoadError::Shape { name: self.stored_name(name), expected, found });
            }
        }
        // What the decoder would pass over (a bias, a norm of Q and K, an expert) is part of what the model computes.
        let mut known = HashSet::new();
        for name in TensorName::of(config) {
            known.insert(self.fused(name)?.map_or_else(|| self.stored_name(name), |(whole, _)| whole));
        }
        let mut stored: Box<dyn Iterator<Item = &str>> = match &self.storage {
            Storage::Gguf { gguf, .. } => Box::new(gguf.tensors().map(|(name, _)| name)),
            Storage::Safetensors(shards) => Box::new(shards.names()),
            Storage::Random(_) => Box::new(std::iter::empty()),
        };
        match stored.find(|name| !known.contains(*name) && !is_rope_table(name) && !self.is_zero_bias(name)) {
            Some(name) => Err(LoadError::UnknownTensor { name: name.into(), architecture: config.architecture }),
            None => Ok(()),
        }
    }

    fn stored_name(&self, name: TensorName) -> String {
        match &self.storage {
            Storage::Gguf { .. } => name.in_gguf(),
            Storage::Safetensors(shards) => spelling(shards, name.in_hugging_face(&self.config)),
            Storage::Random(_) => name.in_hugging_face(&self.config),
        }
    }

    /// Whether a tensor is a bias that changes nothing: models brought into another family's form have such.
    fn is_zero_bias(&self, name: &str) -> bool {
        name.ends_with(".bias")
            && self.stored(name).is_ok_and(|bias| bias.rows() == 1 && bias.to_f32().iter().all(|x| *x == 0.0))
    }
}

/// What every model has, its name whole.
const FIRST: &str = "model.embed_tokens.weight";

/// A tensor's name in these files: base models, saved without their output head, lack the prefix, and transformers 5 may write
/// Mixtral's mixtures of experts by the name that all others have.
fn spelling(shards: &Shards, name: String) -> String {
    let renamed = name.replacen(MIXTRAL_MIXTURE, MIXTURE, 1);
    for name in [&name, &renamed] {
        match name.strip_prefix("model.") {
            Some(bare) if !shards.contains(FIRST) && shards.contains(bare) => {
                return bare.into();
            }
            _ if shards.contains(name) => return name.into(),
            _ => {}
        }
    }
    name
}

/// Old Hugging Face files store what follows from the RoPE base; the config has read what GGUF files divide it by.
fn is_rope_table(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || ROPE_TABLES.contains(&name)
}

fn in_file(bytes: &Range<usize>) -> Range<u64> {
    bytes.start as u64..bytes.end as u64
}

#[cfg(test)]
pub(crate) mod tests;
