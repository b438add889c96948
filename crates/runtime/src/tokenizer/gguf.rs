//! Byte-level BPE from the vocabulary a GGUF file carries.

use super::{Tokenizer, TokenizerError};
use crate::weights::gguf::Gguf;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior, Tokenizer as HuggingFace};
use tokenizers::{PreTokenizerWrapper, Result as HuggingFaceResult};

/// The `tokenizer.ggml.*` metadata.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// Kind of tokenizer; byte-level BPE is `gpt2`.
    pub model: String,
    /// Name of the pre-tokenizer.
    pub pre: String,
    /// Text of each token, bytes spelt as in GPT-2.
    pub tokens: Vec<String>,
    /// Kind of each token: 3 control, 4 user defined.
    pub token_types: Vec<i64>,
    /// `left right`, best first.
    pub merges: Vec<String>,
    /// Token put in front of texts.
    pub bos: Option<usize>,
    /// Tokens that end a text or a turn.
    pub eos: Vec<usize>,
    /// Whether BOS is wanted in front of every text.
    pub add_bos: bool,
}

const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// How Qwen2 splits text before BPE: contractions, words with one leading mark, single digits, punctuation, newlines.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Llama 3: as Qwen2, digits in groups of up to three.
const LLAMA_BPE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Tokenizer {
    /// Makes the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// When the file lacks a vocabulary, or has one that is not byte-level BPE with a known pre-tokenizer.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let owned = |items: Vec<&str>| items.into_iter().map(String::from).collect();
        let mut eos = Vec::new();
        for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos.extend(gguf.optional_size(&key(name))?);
        }
        let model = gguf.text(&key("model"))?.to_string();
        let merges = match gguf.get(&key("merges")) {
            Some(_) => owned(gguf.texts(&key("merges"))?),
            None => Vec::new(),
        };
        Self::from_vocabulary(GgufVocabulary {
            model,
            pre: gguf.get(&key("pre")).map_or(Ok("(none)"), |_| gguf.text(&key("pre")))?.into(),
            tokens: owned(gguf.texts(&key("tokens"))?),
            token_types: match gguf.get(&key("token_type")) {
                Some(_) => gguf.integers(&key("token_type"))?,
                None => Vec::new(),
            },
            merges,
            bos: gguf.optional_size(&key("bos_token_id"))?,
            eos,
            add_bos: gguf.optional_bool(&key("add_bos_token"))?.unwrap_or(false),
        })
    }

    /// Makes a tokenizer from a vocabulary.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf).
    pub fn from_vocabulary(vocabulary: GgufVocabulary) -> Result<Self, TokenizerError> {
        if vocabulary.model != "gpt2" {
            let found = vocabulary.model;
            return Err(TokenizerError::Unsupported { what: "model", found, expected: "gpt2 (byte-level BPE)" });
        }
        let corrupt = TokenizerError::Vocabulary;
        let size = vocabulary.tokens.len();
        let id = |what: &str, id: usize| match id < size {
            true => Ok(id as u32),
            false => Err(corrupt(format!("{what} is token {id} of {size}"))),
        };
        if !vocabulary.token_types.is_empty() && vocabulary.token_types.len() != size {
            return Err(corrupt(format!("{} token types for {size} tokens", vocabulary.token_types.len())));
        }
        let bos = vocabulary.bos.map(|bos| id("BOS", bos)).transpose()?;
        let mut eos_ids = vocabulary.eos.iter().map(|&eos| id("EOS", eos)).collect::<Result<Vec<_>, _>>()?;
        eos_ids.sort_unstable();
        eos_ids.dedup();

        let mut tokens = Vocab::default();
        for (id, token) in vocabulary.tokens.iter().enumerate() {
            if tokens.insert(token.clone(), id as u32).is_some() {
                return Err(corrupt(format!("token `{token}` stands twice")));
            }
        }
        let merges = vocabulary
            .merges
            .iter()
            .map(|merge| {
                let (left, right) = merge.split_once(' ').ok_or_else(|| corrupt(format!("merge `{merge}`")))?;
                let known = [left, right, &format!("{left}{right}")].iter().all(|token| tokens.contains_key(*token));
                if known { Ok((left.into(), right.into())) } else { Err(corrupt(format!("merge `{merge}`"))) }
            })
            .collect::<Result<Vec<(String, String)>, _>>()?;

        let kind = |wanted: i64| {
            let of_kind =
                vocabulary.token_types.iter().zip(&vocabulary.tokens).filter(move |(kind, _)| **kind == wanted);
            of_kind.map(move |(_, token)| AddedToken::from(token.clone(), wanted == CONTROL)).collect::<Vec<_>>()
        };
        let (control, user_defined) = (kind(CONTROL), kind(USER_DEFINED));
        let pre = pre_tokenizer(&vocabulary.pre)?;
        let build = || -> HuggingFaceResult<HuggingFace> {
            let bpe = BPE::builder().vocab_and_merges(tokens, merges).ignore_merges(pre.ignore_merges).build()?;
            let mut inner = HuggingFace::new(bpe);
            inner.with_pre_tokenizer(Some(pre.split));
            inner.with_decoder(Some(ByteLevel::default()));
            if pre.nfc {
                inner.with_normalizer(Some(NFC))?;
            }
            inner.add_special_tokens(control)?;
            inner.add_tokens(user_defined)?;
            Ok(inner)
        };
        let inner = build().map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { inner, eos_ids, bos, add_bos: vocabulary.add_bos })
    }
}

struct PreTokenizer {
    split: PreTokenizerWrapper,
    /// Whether a word that is a token is taken whole.
    ignore_merges: bool,
    /// Whether text is brought to Unicode NFC first, as the model's authors did.
    nfc: bool,
}

fn pre_tokenizer(name: &str) -> Result<PreTokenizer, TokenizerError> {
    let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, use_regex));
    let regex = |pattern: &str| {
        let pattern = SplitPattern::Regex(pattern.into());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a constant pattern").into()
    };
    let sequence = |first: PreTokenizerWrapper, use_regex| Sequence::new(vec![first, bytes(use_regex)]).into();
    let (split, ignore_merges, nfc) = match name {
        "gpt-2" => (bytes(true), false, false),
        "smollm" => (sequence(Digits::new(true).into(), true), false, false),
        "qwen2" => (sequence(regex(QWEN2), false), false, true),
        "llama-bpe" => (sequence(regex(LLAMA_BPE), false), true, false),
        other => {
            let expected = "gpt-2, smollm, qwen2 or llama-bpe";
            return Err(TokenizerError::Unsupported { what: "pre-tokenizer", found: other.into(), expected });
        }
    };
    Ok(PreTokenizer { split, ignore_merges, nfc })
}
