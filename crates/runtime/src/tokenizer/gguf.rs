//! The tokenizer that a GGUF file describes: byte-level BPE, or SentencePiece BPE.

use super::pre_tokenizer::PreTokenizer;
use super::{Tokenizer, TokenizerError, sentence_piece};
use crate::formats::gguf::{Gguf, GgufError, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{AddedToken, Tokenizer as HuggingFace};

/// The `tokenizer.ggml.*` metadata.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// Kind of tokenizer; byte-level BPE is `gpt2`, SentencePiece BPE `llama`.
    pub model: String,
    /// Name of the pre-tokenizer.
    pub pre: String,
    /// Text of each token, bytes spelt as in GPT-2.
    pub tokens: Vec<String>,
    /// Kind of each token: 1 normal, 2 unknown, 3 control, 4 user defined, 6 byte.
    pub token_types: Vec<i64>,
    /// Score of each token; SentencePiece only.
    pub scores: Vec<f32>,
    /// Whether a space is put in front of every text; SentencePiece only, and it does unless the file says no.
    pub add_space: Option<bool>,
    /// `left right`, best first.
    pub merges: Vec<String>,
    /// Token put in front of texts.
    pub bos: Option<usize>,
    /// Tokens that end a text or a turn.
    pub eos: Vec<usize>,
    /// Whether BOS is wanted in front of every text; `None` leaves it to the pre-tokenizer's family.
    pub add_bos: Option<bool>,
}

const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

impl Tokenizer {
    /// Makes the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// When the file lacks a vocabulary, or has one of another kind or with an unknown pre-tokenizer.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(GgufVocabulary::from_gguf(gguf)?)
    }

    /// Makes a tokenizer from a vocabulary.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf).
    pub fn from_vocabulary(vocabulary: GgufVocabulary) -> Result<Self, TokenizerError> {
        match vocabulary.model.as_str() {
            "gpt2" => Self::byte_level(vocabulary),
            "llama" => Self::sentence_piece(vocabulary),
            _ => {
                let expected = "gpt2 (byte-level BPE) or llama (SentencePiece BPE)".into();
                Err(TokenizerError::Unsupported { what: "model", found: vocabulary.model, expected })
            }
        }
    }

    fn sentence_piece(vocabulary: GgufVocabulary) -> Result<Self, TokenizerError> {
        let ids = vocabulary.ids()?;
        let bos = vocabulary.bos.map(|bos| vocabulary.checked("BOS", bos)).transpose()?;
        let eos_ids = vocabulary.eos_ids()?;
        let GgufVocabulary { tokens, token_types, scores, .. } = &vocabulary;
        let add_space = vocabulary.add_space.unwrap_or(true);
        let mut inner = sentence_piece::build(tokens, token_types, scores, ids, add_space)?;
        let added = |error: tokenizers::Error| TokenizerError::Vocabulary(error.to_string());
        inner.add_special_tokens(vocabulary.added(CONTROL)?).map_err(added)?;
        inner.add_tokens(vocabulary.added(USER_DEFINED)?).map_err(added)?;
        Self::new(inner, eos_ids, bos, vocabulary.add_bos.unwrap_or(true))
    }

    fn byte_level(vocabulary: GgufVocabulary) -> Result<Self, TokenizerError> {
        let rule = PreTokenizer::named(&vocabulary.pre).ok_or_else(|| TokenizerError::Unsupported {
            what: "pre-tokenizer",
            found: vocabulary.pre.clone(),
            expected: PreTokenizer::names(),
        })?;
        let ids = vocabulary.ids()?;
        let merges = vocabulary.merges(&ids)?;
        let bos = vocabulary.bos.map(|bos| vocabulary.checked("BOS", bos)).transpose()?;
        let eos_ids = vocabulary.eos_ids()?;
        let (control, user_defined) = (vocabulary.added(CONTROL)?, vocabulary.added(USER_DEFINED)?);

        let build = || {
            let bpe = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(rule.ignore_merges).build()?;
            let mut inner = HuggingFace::new(bpe);
            inner.with_pre_tokenizer(Some(rule.build()));
            inner.with_decoder(Some(ByteLevel::default()));
            if rule.nfc {
                inner.with_normalizer(Some(NFC))?;
            }
            inner.add_special_tokens(control)?;
            inner.add_tokens(user_defined)?;
            Ok(inner)
        };
        let inner = build().map_err(|error: tokenizers::Error| TokenizerError::Vocabulary(error.to_string()))?;
        Self::new(inner, eos_ids, bos, vocabulary.add_bos.unwrap_or(rule.add_bos))
    }
}

impl GgufVocabulary {
    /// Reads the metadata.
    ///
    /// # Errors
    /// When a key is missing or of another type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, GgufError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let owned = |items: Vec<&str>| items.into_iter().map(String::from).collect();
        let tokens: Vec<String> = owned(gguf.texts(&key("tokens"))?);
        let (mut eos, size) = (Vec::new(), tokens.len());
        for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos.extend(special_id(gguf, &key(name), size)?);
        }
        let model = gguf.text(&key("model"))?.to_string();
        let merges = match gguf.get(&key("merges")) {
            Some(_) => owned(gguf.texts(&key("merges"))?),
            None => Vec::new(),
        };
        Ok(Self {
            model,
            // Files of before May 2024 have none; llama.cpp reads them by this rule.
            pre: gguf.get(&key("pre")).map_or(Ok("default"), |_| gguf.text(&key("pre")))?.into(),
            tokens,
            token_types: match gguf.get(&key("token_type")) {
                Some(_) => gguf.integers(&key("token_type"))?,
                None => Vec::new(),
            },
            scores: match gguf.get(&key("scores")) {
                Some(_) => gguf.floats(&key("scores"))?.into_iter().map(|score| score as f32).collect(),
                None => Vec::new(),
            },
            add_space: gguf.optional_bool(&key("add_space_prefix"))?,
            merges,
            bos: special_id(gguf, &key("bos_token_id"), size)?,
            eos,
            add_bos: gguf.optional_bool(&key("add_bos_token"))?,
        })
    }

    fn checked(&self, what: &str, id: usize) -> Result<u32, TokenizerError> {
        match self.tokens.len() {
            size if id < size => Ok(id as u32),
            size => Err(TokenizerError::Vocabulary(format!("{what} is token {id} of {size}"))),
        }
    }

    /// Tokens without text (rows that pad the embedding) are left out: no text becomes them, and they have none.
    fn ids(&self) -> Result<Vocab, TokenizerError> {
        if self.tokens.is_empty() {
            return Err(TokenizerError::Vocabulary("no tokens".into()));
        }
        let mut ids = Vocab::default();
        for (id, token) in self.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            if let Some(before) = ids.insert(token.clone(), id as u32) {
                return Err(TokenizerError::Vocabulary(format!("tokens {before} and {id} are both `{token}`")));
            }
        }
        Ok(ids)
    }

    /// Merges whose parts or result are no tokens could never be seen in ids: they are left out, as llama.cpp lets them lie.
    fn merges(&self, ids: &Vocab) -> Result<Vec<(String, String)>, TokenizerError> {
        let mut merges = Vec::with_capacity(self.merges.len());
        for merge in &self.merges {
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| TokenizerError::Vocabulary(format!("merge `{merge}` is not two tokens")))?;
            if [left, right, &format!("{left}{right}")].into_iter().all(|token| ids.contains_key(token)) {
                merges.push((left.into(), right.into()));
            }
        }
        Ok(merges)
    }

    /// The tokens the file names.
    fn eos_ids(&self) -> Result<Vec<u32>, TokenizerError> {
        self.eos.iter().map(|&eos| self.checked("EOS", eos)).collect()
    }

    /// Tokens of one kind that are found in text as they stand, before it is normalised and cut.
    fn added(&self, kind: i64) -> Result<Vec<AddedToken>, TokenizerError> {
        let (types, size) = (self.token_types.len(), self.tokens.len());
        if types != 0 && types != size {
            return Err(TokenizerError::Vocabulary(format!("{types} token types for {size} tokens")));
        }
        let named = self.token_types.iter().zip(&self.tokens).filter(|(_, token)| !token.is_empty());
        let of_kind = named.filter(|(found, _)| **found == kind);
        Ok(of_kind.map(|(_, token)| AddedToken::from(token.clone(), kind == CONTROL).normalized(false)).collect())
    }
}

/// The id of a special token. One beyond the vocabulary, -1 above all, is how converters write that there is none.
fn special_id(gguf: &Gguf, key: &str, tokens: usize) -> Result<Option<usize>, GgufError> {
    match gguf.get(key) {
        Some(Value::Integer(id)) => Ok(usize::try_from(*id).ok().filter(|id| *id < tokens)),
        _ => gguf.optional_size(key),
    }
}
