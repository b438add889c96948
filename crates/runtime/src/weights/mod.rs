//! Model files on disk to tensors the decoder can ask for by role.

mod error;
pub mod gguf;
mod names;
mod quant;
mod quantization;
mod random;
mod safetensors;
mod unpack;

use crate::config::{Architecture, ConfigError, ModelConfig, StretchContext};
use crate::model_files::ModelFiles;
use gguf::Gguf;
use memmap2::Mmap;
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

pub use error::LoadError;
pub use names::{LayerPart, TensorName};
pub use quant::Encoding;
pub use quantization::Quantization;
pub use random::RandomWeights;
pub(crate) use safetensors::{SHARD_INDEX, shard_names};

/// The tensors of a model, mapped, not read.
pub struct ModelWeights {
    config: ModelConfig,
    storage: Storage,
    /// In place of biases that the files leave away.
    zeros: Vec<u8>,
}

enum Storage {
    Gguf { file: Mmap, gguf: Gguf },
    Safetensors(safetensors::Shards),
    Random(random::Random),
}

/// A stored matrix (or vector, of one row).
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    rows: usize,
    cols: usize,
    encoding: Encoding,
    bytes: &'a [u8],
}

impl ModelWeights {
    /// Maps the files and checks that every tensor the architecture needs is there in the right shape.
    ///
    /// # Errors
    /// [`LoadError`]; nothing large has been read by then.
    pub fn open(files: &ModelFiles) -> Result<Self, LoadError> {
        let weights = match files {
            ModelFiles::Gguf(path) => {
                let file = map(path)?;
                let gguf = Gguf::parse(&file).map_err(|error| LoadError::Gguf { path: path.clone(), error })?;
                let config = ModelConfig::from_gguf(&gguf, &file)
                    .map_err(|error| LoadError::Config { path: path.clone(), error })?;
                Self::new(config, Storage::Gguf { file, gguf })
            }
            ModelFiles::Folder(folder) => {
                let config = ModelConfig::from_folder(folder)?;
                Self::new(config, Storage::Safetensors(safetensors::Shards::open(folder)?))
            }
        };
        weights.check_tensors()?;
        Ok(weights)
    }

    /// Weights of the same shape as a model's, random and the same in every run.
    pub fn random(config: ModelConfig, kind: RandomWeights) -> Self {
        let random = random::Random::new(&config, kind, 0);
        Self::new(config, Storage::Random(random))
    }

    fn new(config: ModelConfig, storage: Storage) -> Self {
        let zeros = match config.qkv_bias {
            true => vec![0; config.num_q_heads * config.head_dim * size_of::<f32>()],
            false => Vec::new(),
        };
        Self { config, storage, zeros }
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

    /// Bytes of the mapped files.
    pub fn total_bytes(&self) -> u64 {
        match &self.storage {
            Storage::Gguf { file, .. } => file.len() as u64,
            Storage::Safetensors(shards) => shards.total_bytes(),
            Storage::Random(_) => 0,
        }
    }

    /// Gives back the memory of file pages that were read. They come again when they are read again: this is for what was copied.
    pub(crate) fn forget_pages(&self) {
        let forget = |map: &Mmap| {
            // SAFETY: the map is shared and never written, so what it holds is what the file holds, before and after. An error
            // means that pages stay, which changes no result.
            #[cfg(unix)]
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            #[cfg(not(unix))]
            let _ = map;
        };
        match &self.storage {
            Storage::Gguf { file, .. } => forget(file),
            Storage::Safetensors(shards) => shards.maps().for_each(forget),
            Storage::Random(_) => {}
        }
    }

    /// A tensor by its role. [`TensorName::OutputHead`] of a model with tied embeddings is the token embedding.
    ///
    /// # Errors
    /// When the files lack it.
    pub fn tensor(&self, name: TensorName) -> Result<Tensor<'_>, LoadError> {
        let name = match name {
            TensorName::OutputHead if self.config.tie_word_embeddings => TensorName::TokenEmbedding,
            name => name,
        };
        match &self.storage {
            Storage::Random(random) => {
                let (rows, cols) = name.shape(&self.config);
                random.tensor(rows, cols, name.place())
            }
            Storage::Gguf { .. } | Storage::Safetensors(_) => match self.stored(&self.stored_name(name)) {
                // Some models have a bias on Q alone. Qwen2 has all three: there one that is missing was lost.
                Err(LoadError::MissingTensor { .. })
                    if name.is_qkv_bias() && self.config.architecture != Architecture::Qwen2 =>
                {
                    let (rows, cols) = name.shape(&self.config);
                    let bytes = &self.zeros[..rows * cols * size_of::<f32>()];
                    Ok(Tensor { rows, cols, encoding: Encoding::F32, bytes })
                }
                Err(LoadError::MissingTensor { .. }) if name == TensorName::OutputHead => Err(LoadError::NoOutputHead),
                other => other,
            },
        }
    }

    /// A tensor by its name in the files.
    fn stored(&self, name: &str) -> Result<Tensor<'_>, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        match &self.storage {
            Storage::Gguf { file, gguf } => {
                let place = gguf.tensor(name).ok_or_else(missing)?;
                let bytes = &file[place.bytes.clone()];
                Ok(Tensor { rows: place.rows, cols: place.cols, encoding: place.encoding, bytes })
            }
            Storage::Safetensors(shards) => shards.tensor(name),
            Storage::Random(_) => Err(missing()),
        }
    }

    fn check_tensors(&self) -> Result<(), LoadError> {
        let config = &self.config;
        let mut needed = vec![TensorName::TokenEmbedding, TensorName::OutputNorm, TensorName::OutputHead];
        for layer in 0..config.num_layers {
            needed.extend(LayerPart::of(config).map(|part| TensorName::Layer { layer, part }));
        }
        for name in &needed {
            let tensor = self.tensor(*name)?;
            let expected = name.shape(config);
            if (tensor.rows, tensor.cols) != expected {
                let found = (tensor.rows, tensor.cols);
                return Err(LoadError::Shape { name: self.stored_name(*name), expected, found });
            }
        }
        // What the decoder would pass over (a bias, a norm of Q and K, an expert) is part of what the model computes.
        let known: HashSet<String> = needed.into_iter().map(|name| self.stored_name(name)).collect();
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
            Storage::Safetensors(shards) => shards.spelling(name.in_hugging_face()),
            Storage::Random(_) => name.in_hugging_face(),
        }
    }

    /// Whether a tensor is a bias that changes nothing: models brought into another family's form have such.
    fn is_zero_bias(&self, name: &str) -> bool {
        name.ends_with(".bias")
            && self.stored(name).is_ok_and(|bias| bias.rows == 1 && bias.to_f32().iter().all(|x| *x == 0.0))
    }
}

/// Old Hugging Face files store what follows from the RoPE base; the config has read what GGUF files divide it by.
fn is_rope_table(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || name == "rope_freqs.weight"
}

fn map(path: &Path) -> Result<Mmap, LoadError> {
    let open = || {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        // SAFETY: the map is read-only and private to this process. As with every mapped file, another process that
        // truncates it while we read ends ours with a bus error; that is the price of not copying gigabytes.
        unsafe { Mmap::map(&file) }
    };
    open().map_err(|error| LoadError::Read { path: path.into(), error })
}

impl<'a> Tensor<'a> {
    /// A tensor of bytes that are in no file.
    #[cfg(test)]
    pub(crate) fn of_bytes(rows: usize, encoding: Encoding, bytes: &'a [u8]) -> Self {
        let (elements, size) = encoding.block();
        Self { rows, cols: bytes.len() / rows / size * elements, encoding, bytes }
    }

    /// Number of rows; 1 for a vector.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How it is stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What is stored, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Decodes one row.
    ///
    /// # Panics
    /// When there is no such row or `out` is not of [`cols`](Self::cols) elements.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} x {}", self.rows, self.cols);
        self.encoding.decode(self.row_bytes(row), out);
    }

    /// One row as it is stored.
    pub(crate) fn row_bytes(&self, row: usize) -> &'a [u8] {
        let stride = self.bytes.len() / self.rows;
        &self.bytes[row * stride..][..stride]
    }

    /// Decodes everything, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        self.encoding.decode(self.bytes, &mut out);
        out
    }
}

#[cfg(test)]
mod tests;
