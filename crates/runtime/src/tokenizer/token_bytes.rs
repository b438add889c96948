//! The bytes that each token stands for: decoding is joining them.

use super::TokenizerError;
use serde_json::Value;
use std::collections::HashMap;
use tokenizers::tokenizer::Tokenizer as HuggingFace;

/// A hundred times the largest vocabularies: a larger id is an error of the file, or an attack on memory.
const MAX_TOKENS: usize = 1 << 24;

/// Bytes of every token, by id.
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they begin where those of the one before end.
    ends: Vec<usize>,
    /// Whether a text begins with a space that the tokenizer put there.
    pub(super) strips_leading_space: bool,
}

/// How a vocabulary spells bytes.
enum Spelling {
    /// One character for each byte, as GPT-2 does.
    ByteLevel,
    /// `▁` for a space, `<0x0A>` for a byte that is no character, as SentencePiece does.
    SentencePiece { strips_leading_space: bool },
}

impl TokenBytes {
    /// Reads the vocabulary. Special tokens stand for no text; other added tokens for themselves.
    pub(super) fn of(inner: &HuggingFace) -> Result<Self, TokenizerError> {
        let spelling = Spelling::of(inner)?;
        let byte_of: HashMap<char, u8> = byte_characters().into_iter().zip(0..=u8::MAX).collect();
        let added = inner.get_added_tokens_decoder();
        let len = inner.get_vocab(true).into_values().max().map_or(0, |last| last as usize + 1);
        if len > MAX_TOKENS {
            return Err(TokenizerError::Vocabulary(format!("token {} is beyond any real vocabulary", len - 1)));
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(len));
        for id in 0..len as u32 {
            match (&spelling, added.get(&id), inner.id_to_token(id)) {
                (_, Some(token), _) if token.special => {}
                (Spelling::ByteLevel, Some(token), _) => bytes.extend(token.content.as_bytes()),
                (Spelling::ByteLevel, None, Some(token)) => {
                    match token.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Vec<u8>>>() {
                        Some(spelt) => bytes.extend(spelt),
                        None => bytes.extend(token.as_bytes()),
                    }
                }
                (Spelling::SentencePiece { .. }, _, Some(token)) => match byte_token(&token) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend(token.replace('▁', " ").into_bytes()),
                },
                (_, _, None) => {}
            }
            ends.push(bytes.len());
        }
        let strips_leading_space = matches!(spelling, Spelling::SentencePiece { strips_leading_space: true });
        Ok(Self { bytes, ends, strips_leading_space })
    }

    /// One more than the largest id.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of a token; none for special tokens and for ids beyond the vocabulary (models pad their output layer).
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match self.ends.get(id) {
            Some(&end) => &self.bytes[id.checked_sub(1).map_or(0, |before| self.ends[before])..end],
            None => &[],
        }
    }
}

impl Spelling {
    fn of(inner: &HuggingFace) -> Result<Self, TokenizerError> {
        let decoder = serde_json::to_value(inner.get_decoder()).unwrap_or_default();
        let unsupported = |found: &Value| TokenizerError::Unsupported {
            what: "decoder",
            found: found.to_string(),
            expected: "ByteLevel, or SentencePiece's Replace, ByteFallback, Fuse, Strip".into(),
        };
        let is = |step: &Value, kind: &str| step["type"] == kind;
        match decoder["decoders"].as_array() {
            _ if is(&decoder, "ByteLevel") => Ok(Self::ByteLevel),
            _ if is(&decoder, "Metaspace") && decoder["replacement"] == "▁" => {
                Ok(Self::SentencePiece { strips_leading_space: decoder["prepend_scheme"] != "never" })
            }
            Some(steps) => {
                let known = steps.iter().all(|step| match step["type"].as_str() {
                    Some("Replace") => step["pattern"]["String"] == "▁" && step["content"] == " ",
                    Some("ByteFallback" | "Fuse") => true,
                    Some("Strip") => step["content"] == " " && step["start"] == 1 && step["stop"] == 0,
                    _ => false,
                });
                if !known || !steps.iter().any(|step| is(step, "Replace")) {
                    return Err(unsupported(&decoder));
                }
                Ok(Self::SentencePiece { strips_leading_space: steps.iter().any(|step| is(step, "Strip")) })
            }
            None => Err(unsupported(&decoder)),
        }
    }
}

/// The character that spells each byte: itself where it is visible in Latin-1, else the next one from U+0100 on.
pub(super) fn byte_characters() -> [char; 256] {
    let mut next = 0x100u32;
    std::array::from_fn(|byte| match byte as u8 {
        visible @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => visible as char,
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
        }
    })
}

/// The byte that `<0x0A>` stands for.
fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}
