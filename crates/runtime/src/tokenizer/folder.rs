//! The tokenizer of a Hugging Face folder.

use super::{Tokenizer, TokenizerError};
use serde::Deserialize;
use std::path::Path;
use tokenizers::tokenizer::Tokenizer as HuggingFace;

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face folder, and its end-of-sequence tokens from `generation_config.json`,
    /// else `config.json`.
    ///
    /// # Errors
    /// When there is no such file, it is no tokenizer, or one whose tokens are not bytes or SentencePiece's pieces.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let mut inner = HuggingFace::from_file(&path)
            .map_err(|error| TokenizerError::File { path: path.clone(), message: error.to_string() })?;
        // Left over from training: nothing that a prompt should be cut or padded by.
        inner.with_truncation(None).map_err(TokenizerError::tokenize)?.with_padding(None);
        let eos_ids = ["generation_config.json", "config.json"]
            .iter()
            .filter_map(|name| std::fs::read(folder.join(name)).ok())
            .filter_map(|json| serde_json::from_slice::<EosConfig>(&json).ok())
            .find_map(|config| config.eos_token_id)
            .map_or(Vec::new(), OneOrMany::into_vec);
        let bos = bos_of_post_processor(&inner)?;
        Self::new(inner, eos_ids, bos, bos.is_some())
    }
}

/// The token that the file's post-processor puts in front of a text.
///
/// [`Tokenizer::encode`] puts it there itself, so that a chat template which has already written it does not lead to two.
/// What a post-processor would put behind the text is left out: a prompt is to be continued.
fn bos_of_post_processor(inner: &HuggingFace) -> Result<Option<u32>, TokenizerError> {
    let first = |add_special| {
        let encoding = inner.encode_fast("a", add_special).map_err(TokenizerError::tokenize)?;
        Ok::<_, TokenizerError>(encoding.get_ids().first().copied())
    };
    let (with, without) = (first(true)?, first(false)?);
    Ok(with.filter(|_| with != without))
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
