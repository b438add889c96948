//! Tokens to text while they are generated.

use super::token_bytes::TokenBytes;
use std::mem;

/// Incremental decoding: whole UTF-8 characters only, each token looked at once.
///
/// The pieces, [`finish`](Self::finish) included, join to what [`decode`](super::Tokenizer::decode) makes of the same
/// tokens.
pub struct TextStream<'a> {
    tokens: &'a TokenBytes,
    /// The beginning of a character; at most three bytes between calls.
    pending: Vec<u8>,
    strip_space: bool,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokens: &'a TokenBytes) -> Self {
        Self { tokens, pending: Vec::new(), strip_space: tokens.strips_leading_space }
    }

    /// Of a text that goes on behind another.
    pub(super) fn within(tokens: &'a TokenBytes) -> Self {
        Self { strip_space: false, ..Self::new(tokens) }
    }

    /// Adds a token; returns the text that is certain now, `None` when there is none.
    ///
    /// Special tokens and ids beyond the vocabulary have no text. Bytes that can never be UTF-8 become U+FFFD.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let mut bytes = self.tokens.get(id);
        if self.strip_space && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.strip_space = false;
        }
        self.pending.extend(bytes);
        let whole = self.pending.len() - incomplete_suffix(&self.pending);
        let rest = self.pending.split_off(whole);
        let text = mem::replace(&mut self.pending, rest);
        (whole > 0).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// Ends the text: a character that stays incomplete becomes U+FFFD.
    pub fn finish(&mut self) -> Option<String> {
        let pending = mem::take(&mut self.pending);
        (!pending.is_empty()).then(|| String::from_utf8_lossy(&pending).into_owned())
    }
}

/// How many of the last bytes begin a character that more bytes may complete.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}
