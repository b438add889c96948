//! Methods of Python's strings, lists and dicts, and slices that go backwards.

use super::bounds::spend_method;
use super::generation_tag::codes;
use super::guard::tokens;
use minijinja::value::from_args;
use minijinja::{Error, ErrorKind, State, Value};
use std::borrow::Cow;

/// Method that stands for the slice `[::-1]`.
const REVERSED: &str = "_reversed";

/// The source with a method call in place of each `[::-1]`, for which the engine panics where there is nothing to reverse.
pub(super) fn with_reversals(source: &str) -> Cow<'_, str> {
    let (mut out, mut copied) = (String::new(), 0);
    for code in codes(source) {
        for slice in tokens(source, code).windows(6) {
            let texts = slice.iter().map(|token| &source[token.clone()]);
            if texts.eq(["[", ":", ":", "-", "1", "]"]) {
                out.push_str(&source[copied..slice[0].start]);
                out.push_str(&format!(".{REVERSED}()"));
                copied = slice[5].end;
            }
        }
    }
    match copied {
        0 => Cow::Borrowed(source),
        _ => Cow::Owned(out + &source[copied..]),
    }
}

/// A method that the engine does not have.
pub(super) fn python_method(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    spend_method(value, method, args)?;
    let own = match value.as_str() {
        Some(text) => method_of_text(text, method, args),
        None => method_of_collection(value, method, args),
    };
    match own {
        Some(result) => result,
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn method_of_text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        REVERSED => Ok(Value::from(text.chars().rev().collect::<String>())),
        "removeprefix" => from_args(args).map(|(prefix,): (&str,)| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => from_args(args).map(|(suffix,): (&str,)| text.strip_suffix(suffix).unwrap_or(text).into()),
        "casefold" => from_args(args).map(|()| text.to_lowercase().into()),
        "partition" => from_args(args).map(|(separator,): (&str,)| match text.split_once(separator) {
            Some((left, right)) => [left, separator, right].into_iter().collect(),
            None => [text, "", ""].into_iter().collect(),
        }),
        "rpartition" => from_args(args).map(|(separator,): (&str,)| match text.rsplit_once(separator) {
            Some((left, right)) => [left, separator, right].into_iter().collect(),
            None => ["", "", text].into_iter().collect(),
        }),
        "rsplit" => from_args(args).and_then(|(separator, most): (&str, Option<usize>)| match separator {
            "" => Err(Error::new(ErrorKind::InvalidOperation, "rsplit: expected a separator, found an empty text")),
            _ => {
                let mut parts: Vec<&str> = text.rsplitn(most.map_or(usize::MAX, |most| most + 1), separator).collect();
                parts.reverse();
                Ok(parts.into_iter().collect())
            }
        }),
        "index" => from_args(args).and_then(|(part,): (&str,)| match text.find(part) {
            Some(at) => Ok(Value::from(text[..at].chars().count())),
            None => Err(Error::new(ErrorKind::InvalidOperation, "index: the text does not occur")),
        }),
        // Places are of characters, not of bytes.
        "find" => from_args(args).map(|(part,): (&str,)| place(text, text.find(part))),
        "rfind" => from_args(args).map(|(part,): (&str,)| place(text, text.rfind(part))),
        _ => return None,
    })
}

fn place(text: &str, at: Option<usize>) -> Value {
    at.map_or(Value::from(-1), |at| Value::from(text[..at].chars().count()))
}

fn method_of_collection(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        REVERSED => value.reverse(),
        "copy" => from_args(args).map(|()| value.clone()),
        "index" => from_args(args).and_then(|(item,): (Value,)| {
            let found = value.try_iter()?.position(|other| other == item);
            found
                .map(Value::from)
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "index: the item is not there"))
        }),
        _ => return None,
    })
}
