//! Escapes in the texts of a template, which are Python's.

use super::generation_tag::codes;
use super::guard::tokens;
use minijinja::{Error, ErrorKind};
use std::borrow::Cow;

/// The source with escapes that the engine reads as Python does.
///
/// # Errors
/// For one that is cut short, is no character, or calls it by its Unicode name.
pub(super) fn with_python_escapes(source: &str) -> Result<Cow<'_, str>, Error> {
    let (mut out, mut copied) = (String::new(), 0);
    for token in codes(source).into_iter().flat_map(|code| tokens(source, code)) {
        if !source[token.clone()].starts_with(['\'', '"']) {
            continue;
        }
        let mut at = token.start;
        while let Some(found) = source[at..token.end].find('\\') {
            let begin = at + found;
            let Some(kind) = source[begin + 1..token.end].chars().next() else { break };
            at = begin + 1 + kind.len_utf8();
            let written = match kind {
                'a' => "\\x07".into(),
                'v' => "\\x0b".into(),
                // The engine knows this one from JSON; in Python the backslash stays.
                '/' => "\\\\/".into(),
                '\n' => String::new(),
                'x' => number(source, at, 2).map(|_| String::from("\\x"))?,
                'u' => number(source, at, 4).map(|_| String::from("\\u"))?,
                'U' => {
                    let code = number(source, at, 8)?;
                    at += 8;
                    match char::from_u32(code).ok_or_else(|| wrong("is no character", &source[begin..at]))? {
                        // As an escape, since it may be a quote.
                        ascii if ascii.is_ascii() => format!("\\x{code:02x}"),
                        other => other.into(),
                    }
                }
                'N' => {
                    return Err(wrong("calls a character by its name: write its number instead, as in \\u2022", "\\N"));
                }
                _ => continue,
            };
            out.push_str(&source[copied..begin]);
            out.push_str(&written);
            copied = at;
        }
    }
    Ok(match copied {
        0 => Cow::Borrowed(source),
        _ => Cow::Owned(out + &source[copied..]),
    })
}

/// The number that so many hexadecimal digits make.
fn number(source: &str, at: usize, digits: usize) -> Result<u32, Error> {
    let text = source.get(at..at + digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = text.and_then(|text| u32::from_str_radix(text, 16).ok());
    number.ok_or_else(|| wrong(&format!("needs {digits} hexadecimal digits"), &source[at - 2..at]))
}

fn wrong(why: &str, escape: &str) -> Error {
    Error::new(ErrorKind::BadEscape, format!("the escape `{escape}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::with_python_escapes;
    use crate::chat_template::rendered as render;

    /// What Python 3.11 makes of them.
    #[test]
    fn escapes_are_pythons() {
        for (source, expected) in [
            (r"{{ 'a\x41\101\qb' }}", "aAA\\qb"),
            (r#"{{ "\a\v\b\f\t\/" }}"#, "\x07\x0b\x08\x0c\t\\/"),
            (r"{{ '\U0001F600\U00000027é\u2022' }}", "😀'é•"),
            ("{{ 'a\\\nb\\\\a' }}", "ab\\a"),
            (r"\a {# '\N' #}{% raw %}{{ '\x' }}{% endraw %}", r"\a {{ '\x' }}"),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_python_cannot_read_is_refused() {
        for (source, why) in [
            (r"{{ 'a\x4' }}", "needs 2 hexadecimal digits"),
            (r"{{ '\x+1' }}", "needs 2 hexadecimal digits"),
            (r"{{ '\u12é' }}", "needs 4 hexadecimal digits"),
            (r"{{ '\U00110000' }}", "is no character"),
            (r"{{ '\N{BULLET}' }}", "by its name"),
        ] {
            let error = render(source).unwrap_err();
            assert!(error.contains(why), "{source}: {error}");
        }
    }

    #[test]
    fn anything_cut_anywhere_comes_back_or_is_refused() {
        let source = r#"{{ 'é\U0001F600\x41' ~ "\a\"" }}{% set a = '\v"#;
        for end in (0..source.len()).filter(|&end| source.is_char_boundary(end)) {
            if let Ok(written) = with_python_escapes(&source[..end]) {
                assert!(written.starts_with(&source[..end.min(4)]));
            }
        }
    }
}
