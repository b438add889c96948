//! What Jinja refuses and the engine, or a rewriting of ours, would take: a template that stops elsewhere must not answer here.

use super::generation_tag::codes;
use super::guard::{Token, closing, tokens};
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, functions};
use std::collections::BTreeSet;

/// Refuses a slice or item of a filter's result that has no parentheses, and arguments that are named twice.
///
/// # Errors
/// For these.
pub(super) fn check(source: &str) -> Result<(), Error> {
    for code in codes(source) {
        let tokens = tokens(source, code);
        let closing = closing(source, &tokens);
        let text = |n: usize| tokens.get(n).map_or("", |token| &source[token.clone()]);
        check_filters(&text, &closing)?;
        let is_macro = (0..2).any(|n| text(n) == "macro");
        check_names(source, &tokens, &closing, is_macro)?;
    }
    Ok(())
}

/// `a|f[0]`: the engine refuses it by itself, but not what stands for `[::-1]` later on.
fn check_filters<'s>(text: &impl Fn(usize) -> &'s str, closing: &[Option<usize>]) -> Result<(), Error> {
    for filter in (0..closing.len()).filter(|&n| text(n) == "|") {
        let mut next = filter + 2;
        while text(next) == "." {
            next += 2;
        }
        if let ("(", Some(&Some(end))) = (text(next), closing.get(next)) {
            next = end + 1;
        }
        if text(next) == "[" {
            return Err(refused(format!(
                "it has `[` behind the filter `{}`: put the filter in parentheses",
                text(filter + 1)
            )));
        }
    }
    Ok(())
}

/// `f(a=1, a=2)`, and of a macro `f(a, a)` as well.
fn check_names(source: &str, tokens: &[Token], closing: &[Option<usize>], is_macro: bool) -> Result<(), Error> {
    let text = |n: usize| tokens.get(n).map_or("", |token| &source[token.clone()]);
    for open in (0..tokens.len()).filter(|&n| text(n) == "(") {
        let (end, mut names) = (closing[open].unwrap_or(tokens.len()), BTreeSet::new());
        let mut at = open + 1;
        while at < end {
            let begins = matches!(text(at - 1), "(" | ",");
            let is_named = text(at + 1) == "=" && text(at + 2) != "=";
            let is_parameter = is_macro && matches!(text(at + 1), "," | ")");
            if begins && (is_named || is_parameter) && !names.insert(text(at)) {
                return Err(refused(format!("it names the argument `{}` twice", text(at))));
            }
            // What brackets hold has names of its own.
            at = closing[at].unwrap_or(at) + 1;
        }
    }
    Ok(())
}

/// Functions that the engine lets leave out what is none or undefined, where Python fails.
pub(super) fn add_functions(environment: &mut Environment<'static>) {
    let functions = [
        ("dict", Value::from_function(functions::dict)),
        ("namespace", Value::from_function(functions::namespace)),
        ("range", Value::from_function(functions::range)),
    ];
    for (name, function) in functions {
        environment.add_function(name, move |state: &State, args: Rest<Value>| -> Result<Value, Error> {
            let is_right = |arg: &Value| match arg.kind() {
                ValueKind::Undefined | ValueKind::None => false,
                ValueKind::Number => arg.is_integer(),
                _ => true,
            };
            match args.iter().find(|arg| !is_right(arg)) {
                Some(wrong) if wrong.kind() == ValueKind::Number => {
                    Err(refused(format!("{name}: expected whole numbers, found {wrong}")))
                }
                Some(wrong) => Err(refused(format!("{name}: expected a value, found {}", wrong.kind()))),
                None => function.call(state, &args),
            }
        });
    }
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

#[cfg(test)]
mod tests {
    use super::super::rendered as render;

    #[test]
    fn what_jinja_refuses_is_refused() {
        for (source, why) in [
            ("{{ 'abc'|trim[::-1] }}", "behind the filter `trim`"),
            ("{{ 'abc'|default(x)|trim()[::-1] }}", "behind the filter `trim`"),
            ("{{ 'a' if true else 'b'|nobody[::-1] }}", "behind the filter `nobody`"),
            ("{% for m in messages|list[::-1] %}{% endfor %}", "behind the filter `list`"),
            ("{{ namespace(a=1, b=(2), a=3).a }}", "names the argument `a` twice"),
            ("{{ dict(a=dict(b=1, b=2)) }}", "names the argument `b` twice"),
            ("{% macro f(a, b, a) %}{% endmacro %}", "names the argument `a` twice"),
            ("{%- macro f(a, a=1) %}{% endmacro %}", "names the argument `a` twice"),
            ("{{ namespace(nobody) }}", "namespace: expected a value, found undefined"),
            ("{{ dict(nobody) }}", "dict: expected a value, found undefined"),
            ("{{ range(3, none)|list }}", "range: expected a value, found none"),
            ("{{ range(3.0)|list }}", "range: expected whole numbers, found 3.0"),
        ] {
            let error = render(source).unwrap_err();
            assert!(error.contains(why), "{source}: {error}");
        }
    }

    #[test]
    fn what_jinja_takes_is_taken() {
        for (source, expected) in [
            ("{{ ('abc'|trim)[::-1] }}", "cba"),
            ("{{ ['a'|upper, 'b'][::-1]|join }}", "bA"),
            ("{{ messages|list|length }}", "1"),
            ("{{ dict(a=dict(a=1)).a.a }}", "1"),
            ("{% macro f(a, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ f('x', b=2) }}{{ f(f, f) is none }}", "x2False"),
            ("{% set a = 1 %}{{ namespace(a=a == 1, b=a).a }}{{ (a == a) }}{{ f if (a, a) == (a, a) }}", "TrueTrue"),
            ("{{ namespace({'a': 1}).a }}{{ namespace() is none }}", "1False"),
            ("{{ range(1, 6, 2)|list }}", "[1, 3, 5]"),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }
}
