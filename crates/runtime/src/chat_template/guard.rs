//! Checks that a template cannot leave out, written into its source before it is compiled.
//!
//! MiniJinja counts steps, but one step may double a text, and sixty of them fill any memory. Nothing of it is called when an
//! operator runs; filters are. So both operands of each `~`, `+` and `*` go through the filter [`PRINT`],
//! [`SPEND`] or [`REPEAT`], which count them against what the chat may take; what a loop walks goes through [`WALK`], since
//! the engine takes none for an empty list where Python fails; and what is set into a namespace goes through
//! [`KEEP`], since only there can a value come to hold itself.

use super::generation_tag::codes;
use super::spending::too_much;
use minijinja::Error;
use std::collections::BTreeSet;
use std::ops::Range;

/// Filter that counts an operand of `~`, which writes it out, and gives it back.
pub(super) const PRINT: &str = "_print";
/// Filter for an operand of `+`, which looks into nothing but text.
pub(super) const SPEND: &str = "_spend";
/// Filter for an operand of `*`.
pub(super) const REPEAT: &str = "_repeat";
/// Filter for what a namespace is to hold.
pub(super) const KEEP: &str = "_keep";

/// Filter for what a loop walks.
pub(super) const WALK: &str = "_walk";

/// The source with the checks.
///
/// # Errors
/// For `a * b * c`, of which no filter sees the first product.
pub(super) fn guarded(source: &str) -> Result<String, Error> {
    let mut insertions = BTreeSet::new();
    for code in codes(source) {
        let is_tag = source.as_bytes()[code.start - 1] == b'%';
        guard(source, &tokens(source, code), is_tag, &mut insertions)?;
    }
    let (mut out, mut copied) = (String::with_capacity(2 * source.len()), 0);
    for (at, _, text) in insertions {
        out.push_str(&source[copied..at]);
        out.push_str(&text);
        copied = at;
    }
    Ok(out + &source[copied..])
}

/// Where a token is. Strings, numbers and names are one token each, of other characters each is one, `**` but one too.
pub(super) type Token = Range<usize>;

pub(super) fn tokens(source: &str, code: Range<usize>) -> Vec<Token> {
    let bytes = source.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut tokens, mut at) = (Vec::new(), code.start);
    while at < code.end {
        let start = at;
        at += 1;
        match bytes[start] {
            byte if byte.is_ascii_whitespace() => continue,
            quote @ (b'\'' | b'"') => {
                while at < code.end && bytes[at] != quote {
                    at += 1 + (bytes[at] == b'\\') as usize;
                }
                at = (at + 1).min(code.end);
            }
            b'*' if bytes[at] == b'*' => at += 1,
            byte if byte.is_ascii_digit() => {
                let is_number = |at: usize| {
                    is_name(bytes[at]) || bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                };
                while at < code.end && is_number(at) {
                    at += 1;
                }
            }
            byte if is_name(byte) => {
                while at < code.end && is_name(bytes[at]) {
                    at += 1;
                }
            }
            _ => {}
        }
        tokens.push(start..at);
    }
    // White space control.
    if tokens.last().is_some_and(|last| last.end == code.end && matches!(bytes[last.start], b'-' | b'+')) {
        tokens.pop();
    }
    tokens
}

fn guard(
    source: &str,
    tokens: &[Token],
    is_tag: bool,
    insertions: &mut BTreeSet<(usize, u8, String)>,
) -> Result<(), Error> {
    let text = |n: usize| tokens.get(n).map_or("", |token| &source[token.clone()]);
    let closing = closing(source, tokens);
    let is_value_end = |n: usize| match text(n) {
        ")" | "]" | "}" => true,
        "if" | "else" | "and" | "or" | "not" | "in" | "is" | "set" | "do" | "elif" => false,
        text => text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"')),
    };
    let filter = |name: &str| format!("|{name}");
    let mut products = BTreeSet::new();
    for n in 1..tokens.len() {
        let (left, operator) = (n - 1, text(n));
        match operator {
            _ if !is_value_end(left) => {}
            "~" | "+" | "*" => {
                let name = match operator {
                    "~" => PRINT,
                    "+" => SPEND,
                    _ => REPEAT,
                };
                let right = operand_end(n + 1, tokens.len(), &text, &closing);
                if operator == "*" {
                    if products.contains(&left) {
                        return Err(too_much("it multiplies twice in a row: put the first product in parentheses"));
                    }
                    products.insert(right);
                }
                insertions.insert((tokens[left].end, 0, filter(name)));
                if let Some(right) = tokens.get(right) {
                    insertions.insert((right.end, 0, filter(name)));
                }
            }
            _ => {}
        }
    }
    if is_tag {
        guard_loop(tokens, &text, &closing, insertions);
    }
    // `set a.b = value`, by whatever more targets.
    let first = (0..2).find(|&n| text(n) == "set").filter(|_| is_tag);
    let assigned = first.and_then(|first| (first + 1..tokens.len()).find(|&n| text(n) == "="));
    if let (Some(first), Some(assigned)) = (first, assigned)
        && (first..assigned).any(|n| text(n) == ".")
        && let Some(last) = tokens.last().filter(|last| last.start > tokens[assigned].start)
    {
        insertions.insert((tokens[assigned].end, 0, "(".into()));
        // Behind a filter at the same place: `}` sorts after `|`.
        // Behind the filter of its last operand.
        insertions.insert((last.end, 1, format!(")|{KEEP}")));
    }
    Ok(())
}

/// `for a, b in walked if condition`.
fn guard_loop<'s>(
    tokens: &[Token],
    text: &impl Fn(usize) -> &'s str,
    closing: &[Option<usize>],
    insertions: &mut BTreeSet<(usize, u8, String)>,
) {
    let Some(first) = (0..2).find(|&n| text(n) == "for") else { return };
    let Some(walked) = (first..tokens.len()).find(|&n| text(n) == "in") else { return };
    let mut end = walked;
    while end + 1 < tokens.len() && !matches!(text(end + 1), "if" | "recursive") {
        end = closing[end + 1].unwrap_or(end + 1);
    }
    if end > walked {
        insertions.insert((tokens[walked].end, 0, "(".into()));
        insertions.insert((tokens[end].end, 1, format!(")|{WALK}")));
    }
}

/// For each opening bracket the token that closes it.
pub(super) fn closing(source: &str, tokens: &[Token]) -> Vec<Option<usize>> {
    let (mut closing, mut open) = (vec![None; tokens.len()], Vec::new());
    for (n, token) in tokens.iter().enumerate() {
        match &source[token.clone()] {
            "(" | "[" | "{" => open.push(n),
            ")" | "]" | "}" => {
                if let Some(opening) = open.pop() {
                    closing[opening] = Some(n);
                }
            }
            _ => {}
        }
    }
    closing
}

/// The last token of the operand that begins at `at`: a value, and its attributes, items, calls and filters.
fn operand_end<'s>(mut at: usize, len: usize, text: &impl Fn(usize) -> &'s str, closing: &[Option<usize>]) -> usize {
    while matches!(text(at), "-" | "+" | "not") {
        at += 1;
    }
    let closed = |at: usize| if at < len { closing[at].unwrap_or(at) } else { at };
    let mut end = closed(at);
    loop {
        match text(end + 1) {
            "." | "|" => end += 2,
            "(" | "[" => end = closed(end + 1),
            _ => return end,
        }
        if end >= len {
            return len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn operands_are_counted_where_they_end() {
        for (source, expected) in [
            ("{{ a ~ b }}", "{{ a|P ~ b|P }}"),
            ("{{ a.b['c'] + f(x + 1)|trim }}", "{{ a.b['c']|S + f(x|S + 1|S)|trim|S }}"),
            ("{{ '-' * 20 }}", "{{ '-'|R * 20|R }}"),
            ("{%- set x = a+-b -%}", "{%- set x = a|S+-b|S -%}"),
            ("{{ a[1:] ~ b[x + 1:] }}{{ [1, 2] }}", "{{ a[1:]|P ~ b[x|S + 1|S:]|P }}{{ [1, 2] }}"),
            ("{{ 2 ** 3 }}{{ x }} + {# a ~ b #}", "{{ 2 ** 3 }}{{ x }} + {# a ~ b #}"),
            ("{% if 'a ~ b' in x +%}", "{% if 'a ~ b' in x +%}"),
            ("{% raw %}{{ a ~ b }}{% endraw %}{{ a~b }}", "{% raw %}{{ a ~ b }}{% endraw %}{{ a|P~b|P }}"),
            ("{{ a ~ 1.5 ~ ' é\\' ~' }}", "{{ a|P ~ 1.5|P ~ ' é\\' ~'|P }}"),
        ] {
            let expected = expected.replace("|S", "|_spend").replace("|P", "|_print").replace("|R", "|_repeat");
            assert_eq!(guarded(source).unwrap(), expected);
        }
        assert!(guarded("{{ a * b * c }}").is_err());
        assert!(guarded("{{ (a * b) * c }}").is_ok());
    }

    #[test]
    fn what_a_loop_walks_is_looked_at() {
        for (source, expected) in [
            ("{%- for a in b -%}", "{%- for a in( b)|_walk -%}"),
            ("{% for a, b in c[0 if x else 1].d() if a %}", "{% for a, b in( c[0 if x else 1].d())|_walk if a %}"),
            ("{% for a in b + c recursive %}", "{% for a in( b|_spend + c|_spend)|_walk recursive %}"),
            ("{{ 'for' in x }}{% if a in b %}", "{{ 'for' in x }}{% if a in b %}"),
        ] {
            assert_eq!(guarded(source).unwrap(), expected);
        }
    }

    #[test]
    fn what_a_namespace_keeps_is_looked_at() {
        for (source, expected) in [
            ("{% set n.a = b ~ c %}", "{% set n.a =( b|_print ~ c|_print)|_keep %}"),
            ("{%- set n.a = n -%}", "{%- set n.a =( n)|_keep -%}"),
            ("{% set n.a %}text{% endset %}", "{% set n.a %}text{% endset %}"),
            ("{% set a = n.b %}", "{% set a = n.b %}"),
        ] {
            assert_eq!(guarded(source).unwrap(), expected);
        }
    }

    #[test]
    fn anything_cut_anywhere_comes_back() {
        let source = "{% set n.a = 'x' * (y + [1, {2: 3}][0:1]|f) -%} é {{ a ~ \"\\\" ~ b }} {% raw %} { {{ * ~";
        for end in (0..source.len()).filter(|&end| source.is_char_boundary(end)) {
            assert!(guarded(&source[..end]).is_ok_and(|guarded| guarded.len() >= end));
        }
    }
}
