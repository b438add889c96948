//! The tokenizer of a Hugging Face folder.

use super::{Tokenizer, TokenizerError, config};
use std::path::Path;
use tokenizers::tokenizer::Tokenizer as HuggingFace;

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face folder, and the end tokens that `generation_config.json`, `config.json` and
    /// `tokenizer_config.json` name, all of them.
    ///
    /// # Errors
    /// When there is no such file, it is no tokenizer, or one whose tokens are not bytes or SentencePiece's pieces.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let mut inner = HuggingFace::from_file(&path)
            .map_err(|error| TokenizerError::File { path: path.clone(), message: error.to_string() })?;
        // Left over from training: nothing that a prompt should be cut or padded by.
        inner.with_truncation(None).map_err(TokenizerError::tokenize)?.with_padding(None);
        let eos_ids = config::eos_ids(folder, &inner);
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

#[cfg(test)]
mod tests;
