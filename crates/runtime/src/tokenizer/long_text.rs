//! Long texts are cut, and the stretches are tokenized by several threads: of a prompt of 16,000 tokens that is otherwise a fifth of the
//! wait for its first token on a fast GPU.
//!
//! A cut lies where words end for every rule that we know, and only where the tokenizer agrees: around it the two sides by themselves
//! have the tokens that they have together. So one that puts something in front of every text is given the whole.

use super::{HuggingFace, TokenizerError, encode_whole};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of a stretch: a few thousand tokens, some milliseconds of work.
const STRETCH: usize = 8192;
/// Bytes that a cut may lie behind the end of a stretch; beyond, the stretch grows.
const LOOKED_THROUGH: usize = 1024;
/// Cuts that are tried for a stretch.
const TRIES: usize = 4;
/// Bytes on either side of a cut that tell whether the tokenizer agrees.
const SEEN: usize = 96;

/// Token ids of a text, as the tokenizer gives them for the whole.
pub(super) fn encode(inner: &HuggingFace, text: &str) -> Result<Vec<u32>, TokenizerError> {
    // Without words to begin with, merges know no bounds.
    if text.len() < 2 * STRETCH || inner.get_pre_tokenizer().is_none() {
        return encode_whole(inner, text, false);
    }
    let stretches = stretches(inner, text).into_par_iter();
    let ids: Vec<Vec<u32>> =
        stretches.map(|stretch| encode_whole(inner, &text[stretch], false)).collect::<Result<_, _>>()?;
    Ok(ids.concat())
}

/// The text in stretches that can be tokenized apart.
fn stretches(inner: &HuggingFace, text: &str) -> Vec<Range<usize>> {
    let (mut stretches, mut start, mut look) = (Vec::new(), 0, STRETCH);
    while look + STRETCH <= text.len() {
        let mut cuts = ends_of_words(text, look).take(TRIES).peekable();
        let are_none = cuts.peek().is_none();
        look += STRETCH;
        match cuts.find(|cut| agrees(inner, text, *cut)) {
            Some(cut) => {
                stretches.push(start..cut);
                (start, look) = (cut, cut + STRETCH);
            }
            // One that does not agree at several places hardly will anywhere.
            None if !are_none => break,
            None => {}
        }
    }
    stretches.push(start..text.len());
    stretches
}

/// Places not far behind `from` where a word ends whatever the rule: between a letter and a space before another, or behind the end of a
/// line. ASCII for the first and alphanumeric for the second, so that no normalization reaches across.
fn ends_of_words(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let until = text.ceil_char_boundary((from + LOOKED_THROUGH).min(text.len()));
    let from = text.floor_char_boundary(from);
    let characters = text[from..until].char_indices();
    characters.clone().zip(characters.clone().skip(1)).zip(characters.skip(2)).filter_map(move |((a, b), c)| {
        let is_space = a.1.is_ascii_alphabetic() && b.1 == ' ' && c.1.is_ascii_alphabetic();
        let is_line = !a.1.is_whitespace() && b.1 == '\n' && c.1.is_alphanumeric();
        (is_space || is_line).then_some(from + if is_line { c.0 } else { b.0 })
    })
}

/// Whether what is before a cut and what is behind it have by themselves the tokens that they have together.
fn agrees(inner: &HuggingFace, text: &str, cut: usize) -> bool {
    let from = text.floor_char_boundary(cut.saturating_sub(SEEN));
    let until = text.ceil_char_boundary((cut + SEEN).min(text.len()));
    let ids = |range: Range<usize>| encode_whole(inner, &text[range], false).ok();
    let (Some(mut apart), Some(behind), Some(whole)) = (ids(from..cut), ids(cut..until), ids(from..until)) else {
        return false;
    };
    apart.extend(behind);
    apart == whole
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::*;
    use proptest::prelude::*;
    use tokenizers::normalizers::Prepend;

    /// What a text is made of: words, and what rules of cutting quarrel about.
    const PARTS: [&str; 24] = [
        "abc",
        " abc",
        "bc ab ",
        "12",
        " 12",
        "1212 a",
        "\n",
        "\n\n",
        " \n",
        "\r\n",
        "a\nb",
        "'s",
        "'",
        ".",
        ".\n",
        "!?",
        "  ",
        "\t",
        "é",
        "e\u{301}",
        "\u{301}",
        "你好",
        "<|im_end|>",
        "🦀 b",
    ];

    const RULES: [&str; 8] =
        ["gpt-2", "smollm", "qwen2", "llama-bpe", "tekken", "default", "deepseek-llm", "deepseek-coder"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        #[test]
        fn stretches_have_the_tokens_of_the_whole(parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 12_000..20_000)) {
            let text = parts.concat();
            for rule in RULES {
                let tokenizer = with(rule).inner;
                prop_assert!(stretches(&tokenizer, &text).len() > 1, "{}", rule);
                prop_assert_eq!(encode(&tokenizer, &text).unwrap(), encode_whole(&tokenizer, &text, false).unwrap(), "{}", rule);
            }
        }
    }

    #[test]
    fn what_has_no_end_of_a_word_is_one_stretch() {
        let tokenizer = with("gpt-2").inner;
        for text in ["ab".repeat(20_000), "\n".repeat(40_000), "你好".repeat(10_000), "1 2 ".repeat(10_000)] {
            assert_eq!(stretches(&tokenizer, &text), vec![0..text.len()]);
            assert_eq!(encode(&tokenizer, &text).unwrap(), encode_whole(&tokenizer, &text, false).unwrap());
        }
    }

    #[test]
    fn a_cut_lies_at_the_end_of_a_word() {
        let ends = |text: &str| ends_of_words(text, 0).collect::<Vec<_>>();
        assert_eq!(ends("ab cd\nef"), [2, 6]);
        assert_eq!(ends("a  b, c\n\nd \ne 1 a"), [0; 0]);
        assert_eq!(ends("。\n你"), [4]);
    }

    #[test]
    fn a_tokenizer_that_puts_something_in_front_of_a_text_is_given_the_whole() {
        let text = "ab abc\nbc ".repeat(4_000);
        let mut tokenizer = with("gpt-2").inner;
        assert!(stretches(&tokenizer, &text).len() > 1);
        let _ = tokenizer.with_normalizer(Some(Prepend::new("12".into())));
        assert_eq!(stretches(&tokenizer, &text), vec![0..text.len()]);
        assert_eq!(encode(&tokenizer, &text).unwrap(), encode_whole(&tokenizer, &text, false).unwrap());
    }
}
