//! The tags `{% generation %}` and `{% endgeneration %}`, by which transformers finds the assistant's tokens for training.

use std::borrow::Cow;
use std::ops::Range;

/// The template with a `with` block in place of each `generation` block: it renders what is inside and keeps what is set
/// there to itself, as transformers does, and the white space around the tags is as they ask.
pub(super) fn without_generation_tags(source: &str) -> Cow<'_, str> {
    let (mut out, mut copied) = (String::new(), 0);
    for code in codes(source).into_iter().filter(|code| source.as_bytes()[code.start - 1] == b'%') {
        for (tag, block) in [("generation", "with"), ("endgeneration", "endwith")] {
            if word(&source[code.clone()]) == tag {
                out.push_str(&source[copied..code.start]);
                out.push_str(&source[code.clone()].replacen(tag, block, 1));
                copied = code.end;
            }
        }
    }
    match copied {
        0 => Cow::Borrowed(source),
        _ => Cow::Owned(out + &source[copied..]),
    }
}

/// What stands between `{{` and `}}` and between `{%` and `%}`, outside comments and raw text.
pub(super) fn codes(source: &str) -> Vec<Range<usize>> {
    let (mut codes, mut at, mut raw) = (Vec::new(), 0, false);
    while let Some(begin) = source[at..].find('{').map(|found| at + found) {
        let inside = begin + 2;
        let end = match source.as_bytes().get(begin + 1) {
            Some(b'#') if !raw => source[inside..].find("#}").map(|found| inside + found),
            Some(b'{') if !raw => end_of_code(source, inside, "}}"),
            Some(b'%') => end_of_code(source, inside, "%}"),
            _ => {
                at = begin + 1;
                continue;
            }
        };
        // Cut short, or raw text with only one quote; the compiler says where.
        let is_tag = source.as_bytes()[begin + 1] == b'%';
        let name = end.filter(|_| is_tag).map(|end| word(&source[inside..end]));
        match (end, name) {
            (_, Some("endraw")) => raw = false,
            _ if raw => {
                at = inside;
                continue;
            }
            (_, Some("raw")) => raw = true,
            (Some(end), _) if source.as_bytes()[begin + 1] != b'#' => codes.push(inside..end),
            _ => {}
        }
        match end {
            Some(end) => at = end + 2,
            None => break,
        }
    }
    codes
}

/// A tag without white space and its control.
fn word(tag: &str) -> &str {
    let tag = tag.strip_prefix(['-', '+']).unwrap_or(tag);
    tag.strip_suffix(['-', '+']).unwrap_or(tag).trim()
}

/// Where `delimiter` ends the code that begins at `from`: outside strings and braces.
fn end_of_code(source: &str, from: usize, delimiter: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let (mut quote, mut braces, mut at) = (None, 0usize, from);
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, _) if braces == 0 && bytes[at..].starts_with(delimiter.as_bytes()) => return Some(at),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'{') => braces += 1,
            (None, b'}') => braces = braces.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat_template::{ChatTemplate, Message};

    fn render(source: &str) -> String {
        ChatTemplate::new(source, "", "").unwrap().render(&[Message::user("q")], false).unwrap()
    }

    #[test]
    fn renders_what_is_inside_with_the_white_space_the_tags_ask_for() {
        for (source, expected) in [
            ("a {% generation %} b {% endgeneration %} c", "a  b  c"),
            ("a {%- generation -%} b {%- endgeneration -%} c", "abc"),
            ("a\n  {%generation%}\nb\n  {%+ endgeneration +%}\nc", "a\nb\n  \nc"),
            ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "q"),
            ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        ] {
            assert_eq!(render(source), expected, "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_the_tag_stays() {
        for source in [
            "{{ '{% generation %}' }}",
            "{{ {'a': {'b': \"}} {% generation %}\"}} }}",
            "{# {% generation %} #}",
            "{% raw %}{{ ' {% generation %}{% endraw %}",
            "{% set generation = 1 %}{{ generation }}",
            "{% generations %}",
            "{% generation",
            "{ {% if true %}é{% endif %} {",
        ] {
            assert_eq!(without_generation_tags(source), source);
        }
    }
}
