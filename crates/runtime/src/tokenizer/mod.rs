//! Text to token ids and back, from `tokenizer.json` or from the vocabulary inside a GGUF file.

mod charsmap;
mod config;
mod folder;
mod gguf;
mod long_text;
mod plain_text;
mod pre_tokenizer;
mod sentence_piece;
mod text_stream;
mod token_bytes;

use crate::library_panics;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use token_bytes::TokenBytes;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::Tokenizer as HuggingFace;

pub(crate) use config::TokenText;
pub use gguf::GgufVocabulary;
pub(crate) use plain_text::Marks;
pub use text_stream::TextStream;

/// Names of tokens that end a turn or a text: files name one of them as EOS, and models write others too.
const END_TOKENS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"];

/// A tokenizer and the special tokens the engine must know.
pub struct Tokenizer {
    inner: HuggingFace,
    /// The same, to which control tokens are text; made when it is asked for.
    plain: OnceLock<HuggingFace>,
    bytes: TokenBytes,
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
        expected: String,
    },
    /// A vocabulary that contradicts itself.
    #[error("corrupt vocabulary: {0}; download the model again")]
    Vocabulary(String),
    /// Metadata is missing or of another type.
    #[error(transparent)]
    Gguf(#[from] crate::formats::gguf::GgufError),
    /// The tokenizer failed on this input.
    #[error("cannot tokenize: {0}")]
    Tokenize(String),
}

impl TokenizerError {
    fn tokenize(error: tokenizers::Error) -> Self {
        Self::Tokenize(error.to_string())
    }
}

impl Tokenizer {
    /// `eos_ids` are those that the files name; special tokens of well-known names end a text whatever the format.
    fn new(inner: HuggingFace, mut eos_ids: Vec<u32>, bos: Option<u32>, add_bos: bool) -> Result<Self, TokenizerError> {
        let bytes = TokenBytes::of(&inner)?;
        let added = inner.get_added_tokens_decoder();
        let is_special = |id: &u32| added.get(id).is_some_and(|token| token.special);
        eos_ids.extend(END_TOKENS.iter().filter_map(|name| inner.token_to_id(name)).filter(is_special));
        // The files' own first: templates write it.
        let mut seen = HashSet::new();
        eos_ids.retain(|id| seen.insert(*id));
        Ok(Self { inner, plain: OnceLock::new(), bytes, eos_ids, bos, add_bos })
    }

    /// Bytes as tokens, for models without a tokenizer: id `i` is the `i`-th byte in the order of GPT-2's characters.
    ///
    /// # Errors
    /// Never, unless the tokenizer library refuses what it accepted when this was written.
    pub fn of_bytes() -> Result<Self, TokenizerError> {
        let characters = token_bytes::byte_characters().into_iter();
        let vocab: Vocab = characters.zip(0..).map(|(c, id)| (c.to_string(), id)).collect();
        let bpe = BPE::builder().vocab_and_merges(vocab, Vec::new()).build();
        let mut inner = HuggingFace::new(bpe.map_err(TokenizerError::tokenize)?);
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, false, false)));
        inner.with_decoder(Some(ByteLevel::default()));
        Self::new(inner, Vec::new(), None, false)
    }

    /// Token ids of `text`.
    ///
    /// Special tokens spelt out in the text (`<|im_end|>`) become those tokens, as chat templates need it;
    /// [`encode_plain`](Self::encode_plain) is for text of strangers. A BOS token is put in front when the model
    /// asks for one and the text does not start with it.
    ///
    /// # Errors
    /// When the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.with_bos(long_text::encode(&self.inner, text)?))
    }

    /// `ids` behind a BOS token, where the model asks for one and they do not begin with it.
    pub fn with_bos(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.bos
            && self.add_bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    /// Text of `ids`. Special tokens and ids beyond the vocabulary have none; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes.get(*id)).copied().collect();
        if self.bytes.strips_leading_space && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Decodes tokens as they come.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(&self.bytes)
    }

    /// As [`stream`](Self::stream), of a text that goes on: a space at its beginning is its own.
    pub(crate) fn stream_within(&self) -> TextStream<'_> {
        TextStream::within(&self.bytes)
    }

    /// Bytes of one token; none for special tokens and for ids beyond the vocabulary.
    pub(crate) fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id)
    }

    /// All tokens have ids below it.
    pub(crate) fn token_count(&self) -> usize {
        self.bytes.len()
    }

    /// What `tokenizer.json` of a Hugging Face folder would say, for others who make these tokens of a text; of BOS it says nothing.
    ///
    /// # Errors
    /// Never, unless the tokenizer library cannot write what it read.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(TokenizerError::tokenize)
    }

    /// Tokens that end a text.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The id of one token, spelt as in the vocabulary.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// The text of one token, as the vocabulary spells it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether a token stands for no text, as special tokens do.
    pub(crate) fn has_no_text(&self, id: u32) -> bool {
        self.bytes.get(id).is_empty()
    }

    /// The token put in front of texts, if any is known.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// [`library_panics::guarded`] of the tokenizer library.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    library_panics::guarded(work).map_err(|panic| format!("no sound tokenizer {panic}"))
}

/// Ids of a text, by one thread; with `add_special`, those around it too. A panic of the library is an error.
fn encode_whole(inner: &HuggingFace, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
    let encoding = guarded(|| inner.encode_fast(text, add_special)).map_err(TokenizerError::Tokenize)?;
    Ok(encoding.map_err(TokenizerError::tokenize)?.get_ids().to_vec())
}

#[cfg(test)]
mod tests;
