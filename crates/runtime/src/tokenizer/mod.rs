//! Text to token ids and back, from `tokenizer.json` or from the vocabulary inside a GGUF file.

mod gguf;

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokenizers::tokenizer::{DecodeStream, Tokenizer as HuggingFace};
use tokenizers::{DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

pub use gguf::GgufVocabulary;

/// A tokenizer and the special tokens the engine must know.
pub struct Tokenizer {
    inner: HuggingFace,
    eos_ids: Vec<u32>,
    bos: Option<u32>,
    add_bos: bool,
}

/// Why a tokenizer could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file that does not hold a tokenizer.
    #[error("{}: {message}; the model folder needs the tokenizer.json it was published with", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A kind of tokenizer this engine does not know.
    #[error(
        "tokenizer {what} `{found}` is not supported: expected {expected}; the same model as a Hugging Face folder brings its own tokenizer.json"
    )]
    Unsupported {
        /// Which property.
        what: &'static str,
        /// Its value.
        found: String,
        /// What is supported.
        expected: &'static str,
    },
    /// A vocabulary that contradicts itself.
    #[error("corrupt vocabulary: {0}; download the model again")]
    Vocabulary(String),
    /// Metadata is missing or of another type.
    #[error(transparent)]
    Gguf(#[from] crate::weights::gguf::GgufError),
    /// The tokenizer failed on this input.
    #[error("cannot tokenize: {0}")]
    Tokenize(String),
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face folder, and its end-of-sequence tokens from `generation_config.json`,
    /// else `config.json`.
    ///
    /// # Errors
    /// When there is no such file or it is no tokenizer.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let inner = HuggingFace::from_file(&path)
            .map_err(|error| TokenizerError::File { path: path.clone(), message: error.to_string() })?;
        let eos_ids = ["generation_config.json", "config.json"]
            .iter()
            .filter_map(|name| std::fs::read(folder.join(name)).ok())
            .filter_map(|json| serde_json::from_slice::<EosConfig>(&json).ok())
            .find_map(|config| config.eos_token_id)
            .map_or(Vec::new(), OneOrMany::into_vec);
        // Whether BOS is added is part of tokenizer.json itself (its post-processor).
        Ok(Self { inner, eos_ids, bos: None, add_bos: false })
    }

    /// Token ids of `text`.
    ///
    /// Special tokens spelt out in the text (`<|im_end|>`) become those tokens, as chat templates need it; a BOS token is
    /// put in front when the model asks for one and the text does not start with it.
    ///
    /// # Errors
    /// When the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.inner.encode_fast(text, true).map_err(|error| TokenizerError::Tokenize(error.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(bos) = self.bos
            && self.add_bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Text of `ids`, special tokens left out; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|error| TokenizerError::Tokenize(error.to_string()))
    }

    /// Tokens that end a text.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The text of one token, as the vocabulary spells it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The token put in front of texts, if any is known.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Decodes tokens as they come.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { inner: self.inner.decode_stream(true) }
    }
}

/// Incremental decoding: whole UTF-8 characters only, in time proportional to the text.
pub struct TextStream<'a> {
    #[allow(clippy::type_complexity)]
    inner: DecodeStream<'a, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
}

impl TextStream<'_> {
    /// Adds a token; returns the text that is certain now, `None` while a character is incomplete. What is still
    /// incomplete when the tokens end is the rest of [`Tokenizer::decode`].
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TokenizerError> {
        self.inner.step(id).map_err(|error| TokenizerError::Tokenize(error.to_string()))
    }
}

#[derive(Deserialize)]
struct EosConfig {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}

#[cfg(test)]
mod tests;
