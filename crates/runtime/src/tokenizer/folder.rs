//! The tokenizer of a Hugging Face folder.

use super::{Tokenizer, TokenizerError, charsmap, config, encode_whole, guarded};
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
        let file_error = |message: String| TokenizerError::File { path: path.clone(), message };
        let json = std::fs::read(&path).map_err(|error| file_error(error.to_string()))?;
        let inner = parse(&json).map_err(file_error)?;
        let eos_ids = config::eos_ids(folder, &inner);
        let bos = bos_of_post_processor(&inner).map_err(|error| file_error(error.to_string()))?;
        Self::new(inner, eos_ids, bos, bos.is_some())
    }
}

fn parse(json: &[u8]) -> Result<HuggingFace, String> {
    charsmap::check(json)?;
    let read = || {
        let mut inner = HuggingFace::from_bytes(json)?;
        // Left over from training: nothing that a prompt should be cut or padded by.
        inner.with_truncation(None)?.with_padding(None);
        Ok(inner)
    };
    guarded(read)?.map_err(|error: tokenizers::Error| error.to_string())
}

/// The token that the file's post-processor puts in front of a text.
///
/// [`Tokenizer::encode`] puts it there itself, so that a chat template which has already written it does not lead to two.
/// What a post-processor would put behind the text is left out: a prompt is to be continued.
fn bos_of_post_processor(inner: &HuggingFace) -> Result<Option<u32>, TokenizerError> {
    let first = |add_special| Ok::<_, TokenizerError>(encode_whole(inner, "a", add_special)?.first().copied());
    let (with, without) = (first(true)?, first(false)?);
    Ok(with.filter(|_| with != without))
}

#[cfg(test)]
mod tests;
