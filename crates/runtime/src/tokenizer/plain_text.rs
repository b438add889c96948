//! Text of strangers: control tokens spelt out in it (`<|im_end|>`) stay text.

use super::{Tokenizer, TokenizerError, long_text};
use std::collections::BTreeSet;

/// Text in which the spelling of each control token is broken by a character that is nowhere else, so that it goes through
/// a chat template and can still be told from the control tokens that the template writes.
pub(crate) struct Marks {
    mark: char,
    control: Vec<String>,
}

impl Marks {
    /// Takes for its mark a character for private use that none of `texts` has.
    pub(crate) fn new<'t>(tokenizer: &Tokenizer, texts: impl Iterator<Item = &'t str> + Clone) -> Self {
        let is_free = |mark: &char| !texts.clone().any(|text| text.contains(*mark));
        // Sixty thousand of them: a text that has them all is none that means anything.
        let mark = ('\u{f0000}'..='\u{ffffd}').find(is_free).unwrap_or('\u{f0000}');
        let added = tokenizer.inner.get_added_tokens_decoder().into_values();
        let control = added.filter(|token| token.special && !token.content.is_empty()).map(|token| token.content);
        Self { mark, control: control.collect() }
    }

    /// The text with every spelling of a control token broken behind its first character.
    pub(crate) fn put_into(&self, text: &str) -> String {
        let starts: BTreeSet<usize> =
            self.control.iter().flat_map(|token| text.match_indices(token.as_str())).map(|(at, _)| at).collect();
        let mut out = String::with_capacity(text.len() + self.mark.len_utf8() * starts.len());
        for (at, character) in text.char_indices() {
            out.push(character);
            if starts.contains(&at) {
                out.push(self.mark);
            }
        }
        out
    }

    /// The first stretch between control tokens that has marks: where it begins and ends.
    fn first_marked(&self, text: &str) -> Option<(usize, usize)> {
        let (before, after) = text.split_at(text.find(self.mark)?);
        let ends = self.control.iter().filter_map(|token| before.rfind(token.as_str()).map(|at| at + token.len()));
        let starts = self.control.iter().filter_map(|token| after.find(token.as_str()));
        Some((ends.max().unwrap_or(0), before.len() + starts.min().unwrap_or(after.len())))
    }
}

impl Tokenizer {
    /// Token ids of a text of which nothing is a control token, whatever it spells (`<|im_end|>` stays text):
    /// for text of strangers. Nothing is put in front of it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        long_text::encode(plain, text)
    }

    /// As [`encode`](Self::encode), but what has marks in it stays text.
    pub(crate) fn encode_marked(&self, text: &str, marks: &Marks) -> Result<Vec<u32>, TokenizerError> {
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some((from, to)) = marks.first_marked(rest) {
            ids.extend(long_text::encode(&self.inner, &rest[..from])?);
            ids.extend(self.encode_plain(&rest[from..to].replace(marks.mark, ""))?);
            rest = &rest[to..];
        }
        ids.extend(long_text::encode(&self.inner, rest)?);
        Ok(self.with_bos(ids))
    }
}
