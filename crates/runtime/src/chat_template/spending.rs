//! What a rendering may still copy, and what values cost.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use std::cell::Cell;

const MAX_DEPTH: usize = 100;
const MAX_PARTS: usize = 1_000_000;
/// What an item of a list takes: lists are mostly put together without being copied.
pub(super) const BYTES_PER_ITEM: usize = 8;

thread_local! {
    /// Bytes that may still be copied in the rendering of this thread.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Begins a rendering on this thread.
pub(super) fn begin(bytes: usize) {
    LEFT.set(bytes);
}

pub(super) fn spend(bytes: usize) -> Result<(), Error> {
    match LEFT.get().checked_sub(bytes) {
        Some(left) => {
            LEFT.set(left);
            Ok(())
        }
        None => Err(too_much("it copies more text than any chat of this size needs")),
    }
}

pub(super) fn too_much(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Counts a value that is copied but not looked into.
pub(super) fn spend_shallow(value: &Value) -> Result<(), Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => spend(text.len()),
        (_, ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) => {
            spend(value.len().unwrap_or(0).saturating_mul(BYTES_PER_ITEM))
        }
        _ => Ok(()),
    }
}

/// Counts a value that is written out whole. Refuses one that holds itself, or so many others that it would not end.
pub(super) fn spend_printed(value: &Value) -> Result<(), Error> {
    visit(value, 0, &mut 0, &mut |value| spend(value.as_str().map_or(BYTES_PER_ITEM, str::len)))
}

/// Every value that a value holds, itself the first, to the depth and number that any chat has.
pub(super) fn visit(
    value: &Value,
    depth: usize,
    parts: &mut usize,
    each: &mut dyn FnMut(&Value) -> Result<(), Error>,
) -> Result<(), Error> {
    each(value)?;
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Err(too_much(format!("it has a value nested more than {MAX_DEPTH} deep")));
    }
    for item in value.try_iter()? {
        *parts += 1;
        if *parts > MAX_PARTS {
            return Err(too_much(format!("it has a value of more than {MAX_PARTS} parts")));
        }
        if value.kind() == ValueKind::Map {
            visit(&value.get_item(&item)?, depth + 1, parts, each)?;
        }
        visit(&item, depth + 1, parts, each)?;
    }
    Ok(())
}
