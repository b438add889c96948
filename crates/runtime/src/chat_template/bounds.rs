//! Bounds for templates: they are programs, and come with models from anyone.
//!
//! Source, steps, time and output are limited, and so is what is ever copied, which limits memory: each text that is printed, joined
//! or handed to a filter counts against [`Allowance::bytes`]. Compiling and rendering have a stack that is deep enough for
//! the longest source.

use super::{guard, python_text};
use crate::library_panics;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Several times the longest template of a published model.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Enough for a chain of operators as long as a source may be: the compiler descends once for each.
const STACK_BYTES: usize = 256 << 20;
/// What is copied whatever the chat.
const OWN_BYTES: usize = 128 << 20;
/// How often the chat may be copied: as text, as JSON, trimmed, and in pieces; and once more for each message or other entry, since some put
/// a text together message by message.
const COPIES_OF_CHAT: usize = 64;
/// What is copied for each entry whatever its length.
const BYTES_PER_ENTRY: usize = 64 << 10;
const OWN_STEPS: u64 = 200_000;
const STEPS_PER_ENTRY: u64 = 10_000;
/// The widest column and the largest batch that a filter may make.
const MAX_WIDTH: i64 = 1000;
const MAX_DEPTH: usize = 100;
const MAX_PARTS: usize = 1_000_000;
/// What an item of a list takes: lists are mostly put together without being copied.
const BYTES_PER_ITEM: usize = 8;
/// A text or list may be repeated this often.
const MAX_REPEATS: i64 = 4096;

/// Steps and bytes end nearly everything long before; a loaded machine must not end what they allow.
pub(super) const COMPILE_TIME: Duration = Duration::from_secs(20);

pub(super) fn too_much(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Refuses sources beyond any real template's size.
pub(super) fn check_source(source: &str) -> Result<(), Error> {
    match source.len() {
        bytes if bytes > MAX_SOURCE_BYTES => {
            Err(too_much(format!("it has {bytes} bytes, at most {MAX_SOURCE_BYTES} are read")))
        }
        _ => Ok(()),
    }
}

/// Bytes of the longest stretch of a source outside of tags, which one step writes.
pub(super) fn longest_text(source: &str) -> usize {
    source.split(['{', '}']).map(str::len).max().unwrap_or(0)
}

/// What a template may take for a chat.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    /// Instructions of the template engine.
    pub(super) steps: u64,
    /// Bytes ever copied.
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// How much a chat is, with its tools and documents.
#[derive(Clone, Copy, Default)]
pub(super) struct ChatSize {
    /// Messages, tool calls, schemas and whatever else has fields.
    pub(super) entries: usize,
    /// Bytes of all texts.
    pub(super) bytes: usize,
}

impl ChatSize {
    /// Counts a value.
    ///
    /// # Errors
    /// When it is nested deeper, or has more parts, than anything that is rendered may.
    pub(super) fn add(&mut self, value: &Value) -> Result<(), Error> {
        visit(value, 0, &mut 0, &mut |part| {
            self.entries += usize::from(part.kind() == ValueKind::Map);
            self.bytes += part.as_str().map_or(0, str::len);
            Ok(())
        })
    }
}

impl Allowance {
    /// `longest_text` is what one step may write by itself.
    pub(super) fn of_chat(ChatSize { entries, bytes: chat }: ChatSize, longest_text: usize) -> Self {
        let steps = OWN_STEPS.saturating_add(STEPS_PER_ENTRY.saturating_mul(entries as u64));
        let copies = chat.saturating_mul(COPIES_OF_CHAT.saturating_add(entries));
        let bytes = OWN_BYTES.saturating_add(copies).saturating_add(entries.saturating_mul(BYTES_PER_ENTRY));
        // Text outside of tags is written without being counted: so many steps write what may be copied four times over.
        let writes = 4 * bytes as u64 / longest_text.max(1) as u64;
        Self { steps: steps.min(writes), bytes, time: COMPILE_TIME + Duration::from_secs((chat >> 20) as u64) }
    }
}

/// Runs `work` where deep recursion has room, for so long. What takes longer is left to end by itself, which its steps and
/// bytes make it do, most of the time: a comparison of lists that hold one another over and over may not.
pub(super) fn with_deep_stack<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (send, receive) = mpsc::sync_channel(1);
    // Errors hold values of the template, which are taken apart where there is room for it as well.
    let work = move || {
        let result = library_panics::guarded(|| work().map_err(|error| flat(&error)));
        let panicked = |panic| Err(too_much(format!("it made the template engine panic {panic}")));
        drop(send.send(result.unwrap_or_else(panicked)));
    };
    let builder = thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
    builder.spawn(work).map_err(|error| too_much(format!("no thread for it: {error}")))?;
    match receive.recv_timeout(time) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(too_much(format!("it takes more than {} s", time.as_secs()))),
        Err(RecvTimeoutError::Disconnected) => Err(too_much("its thread is gone")),
    }
}

/// An error that holds nothing but words.
fn flat(error: &Error) -> Error {
    let place = error.line().map_or(String::new(), |line| format!(" (in line {line})"));
    let detail = match error.kind() {
        ErrorKind::OutOfFuel => {
            return too_much(format!("it takes more steps than any chat of this size needs{place}"));
        }
        _ => error.detail().unwrap_or_default(),
    };
    // A text of the template's own may be of any length.
    let detail: String = detail.chars().take(2000).collect();
    Error::new(error.kind(), format!("{detail}{place}"))
}

thread_local! {
    /// Bytes that may still be copied in the rendering of this thread.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Begins a rendering on this thread.
pub(super) fn begin(bytes: usize) {
    LEFT.set(bytes);
}

fn spend(bytes: usize) -> Result<(), Error> {
    match LEFT.get().checked_sub(bytes) {
        Some(left) => {
            LEFT.set(left);
            Ok(())
        }
        None => Err(too_much("it copies more text than any chat of this size needs")),
    }
}

/// Text up to a length.
pub(super) struct Bounded {
    text: Vec<u8>,
    limit: usize,
}

impl Bounded {
    pub(super) fn new(limit: usize) -> Self {
        Self { text: Vec::new(), limit }
    }

    pub(super) fn into_text(self) -> String {
        String::from_utf8(self.text).expect("templates write text")
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.text.len() {
            return Err(io::Error::other(format!("it writes more than {} bytes", self.limit)));
        }
        self.text.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts a value that is copied but not looked into.
fn spend_shallow(value: &Value) -> Result<(), Error> {
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
fn visit(
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

/// As [`spend_printed`], for JSON that is indented by so many spaces at each level.
pub(super) fn spend_indented(value: &Value, indent: Option<usize>) -> Result<(), Error> {
    check_width(&Value::from(indent))?;
    // Deep values in wide columns are mostly spaces: a line of them for each part, at the most.
    (0..=indent.unwrap_or(0) / 4).try_for_each(|_| spend_printed(value))
}

/// Filter for operands of `~`, which are texts from then on.
fn print_operand(value: Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => spend_printed(&value).map(|()| value),
        None => python_text::string(value),
    }
}

/// Filter for operands of `+`.
fn spend_operand(value: Value) -> Result<Value, Error> {
    spend_shallow(&value)?;
    Ok(value)
}

/// Filter for operands of `*`.
fn repeat_operand(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Number if i64::try_from(value.clone()).is_ok_and(|n| n > MAX_REPEATS) => {
            return Err(too_much(format!("it multiplies by {value}, more than {MAX_REPEATS} is not possible")));
        }
        ValueKind::Number => {}
        _ => {
            let bytes = value.as_str().map_or_else(|| value.len().unwrap_or(0) * BYTES_PER_ITEM, str::len);
            spend(bytes.saturating_mul(MAX_REPEATS as usize / 64))?;
            // Texts that are repeated draw lines; longer ones pay in full for what they may become.
            spend(bytes.saturating_sub(16).saturating_mul(MAX_REPEATS as usize))?;
        }
    }
    Ok(value)
}

/// Filter for what a namespace is to hold: nothing that could come to hold itself, and nothing deep or vast.
fn keep(value: Value) -> Result<Value, Error> {
    visit(&value, 0, &mut 0, &mut |part| match part.as_object() {
        Some(object) if object.type_name().ends_with("Namespace") => {
            Err(too_much("it sets a namespace into a namespace, where it could hold itself"))
        }
        _ => Ok(()),
    })?;
    Ok(value)
}

/// Filter for what a loop walks: nothing else than Python walks, and texts by their characters.
fn walk(value: Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => {
            spend(text.len().saturating_mul(BYTES_PER_ITEM))?;
            Ok(text.chars().map(Value::from).collect())
        }
        None if value.is_none() => Err(too_much("it walks none as if that were a list")),
        None => Ok(value),
    }
}

/// As Jinja's filters for text take anything: by what Python's `str` makes of it.
fn as_texts(name: &str, args: &mut [Value]) -> Result<(), Error> {
    match (name, args) {
        ("trim" | "upper" | "lower" | "capitalize" | "title" | "replace" | "e" | "escape", [value, ..]) => {
            *value = python_text::string(value.clone())?;
        }
        // With an attribute, joins what its items have there.
        ("join", [list] | [list, _]) if list.kind() == ValueKind::Seq => {
            *list = list.try_iter()?.map(python_text::string).collect::<Result<Vec<_>, _>>()?.into();
        }
        _ => {}
    }
    Ok(())
}

/// Refuses widths that would fill the memory.
fn check_width(width: &Value) -> Result<(), Error> {
    match width.kind() {
        ValueKind::Number if i64::try_from(width.clone()).is_ok_and(|width| width <= MAX_WIDTH) => Ok(()),
        ValueKind::Number => Err(too_much(format!("it asks for a width of {width}, at most {MAX_WIDTH} is possible"))),
        _ => Ok(()),
    }
}

/// Refuses a format that would fill the memory: one with a width of more than four digits or from an argument.
fn check_format(format: &Value) -> Result<(), Error> {
    let format = format.as_str().unwrap_or_default();
    let mut specs = percent_specs(format).chain(brace_specs(format));
    let is_wide = |spec: &str| spec.contains('*') || spec.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > 4);
    match specs.any(is_wide) {
        true => Err(too_much("it asks for too wide a format")),
        // Up to four digits each.
        false => spend(format.matches(['%', '{']).count().saturating_mul(10_000)),
    }
}

/// Flags, width and precision of each `%(name)-5.2f`.
fn percent_specs(format: &str) -> impl Iterator<Item = &str> {
    format.split('%').skip(1).map(|spec| {
        let named = spec.strip_prefix('(').and_then(|spec| spec.split_once(')'));
        let spec = named.map_or(spec, |(_, spec)| spec);
        &spec[..spec.find(|c: char| !"-+ #.*0123456789".contains(c)).unwrap_or(spec.len())]
    })
}

/// What stands behind the colon of each `{name:>5}`.
fn brace_specs(format: &str) -> impl Iterator<Item = &str> {
    let fields = format.split('{').skip(1).filter_map(|field| field.split_once(':'));
    fields.filter(|(name, _)| !name.contains('}')).map(|(_, spec)| {
        // A `}` in front of an alignment fills up.
        let filled = spec.strip_prefix('}').filter(|rest| rest.starts_with(['<', '>', '^', '=']));
        let spec = filled.unwrap_or(spec);
        spec.split_once('}').map_or(spec, |(spec, _)| spec)
    })
}

/// Counts what a filter or method by this name may make of its arguments, the value it is applied to first.
fn spend_call(name: &str, args: &[Value]) -> Result<(), Error> {
    let text = |n: usize| args.get(n).and_then(Value::as_str).unwrap_or_default();
    match name {
        "replace" => {
            let (whole, old, new) = (text(0), text(1), text(2));
            let count = if old.is_empty() { whole.len() + 1 } else { whole.matches(old).count() };
            spend(whole.len().saturating_add(count.saturating_mul(new.len())))
        }
        "join" => {
            // The filter joins its value, the method its argument.
            for (list, between) in [(0, 1), (1, 0)] {
                let items = args.get(list).and_then(Value::len).unwrap_or(0);
                spend(items.saturating_mul(text(between).len()))?;
            }
            args.iter().try_for_each(spend_printed)
        }
        "indent" | "batch" | "slice" => {
            for arg in args.iter().skip(1) {
                check_width(arg)?;
                // Named arguments come as a map.
                if let Ok(named) = Kwargs::try_from(arg.clone()) {
                    named.args().try_for_each(|name| check_width(&named.get::<Value>(name)?))?;
                }
            }
            // Each line or row may be as wide as that.
            let rows = if name == "indent" { text(0).lines().count() } else { 1 };
            spend(rows.saturating_mul(MAX_WIDTH as usize))?;
            spend_shallow(&args[0])
        }
        "format" => {
            check_format(&args[0])?;
            args.iter().try_for_each(spend_printed)
        }
        "string" | "pprint" | "urlencode" | "escape" | "e" => args.iter().try_for_each(|arg| {
            spend_printed(arg)?;
            spend_printed(arg)
        }),
        "list" | "sort" | "unique" | "reverse" | "groupby" | "dictsort" | "sum" | "min" | "max" => {
            args.iter().try_for_each(spend_shallow)?;
            // Lists of which nobody knows the length are as long as it takes to count them.
            let is_endless = |arg: &&Value| arg.kind() == ValueKind::Iterable && arg.len().is_none();
            args.iter().filter(is_endless).try_for_each(|arg| arg.try_iter()?.try_for_each(|_| spend(BYTES_PER_ITEM)))
        }
        _ => args.iter().try_for_each(spend_shallow),
    }
}

/// Counts what a method may make.
pub(super) fn spend_method(value: &Value, method: &str, args: &[Value]) -> Result<(), Error> {
    // Of lists and dicts nothing is copied but references.
    if value.as_str().is_some() {
        let whole: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
        return spend_call(method, &whole);
    }
    spend_shallow(value)
}

/// Puts a count of what they are asked for before the filters that make much, and takes out what prints everything.
pub(super) fn bound(environment: &mut Environment<'static>) {
    environment.set_debug(false);
    environment.remove_global("debug");
    environment.add_filter(guard::PRINT, print_operand);
    environment.add_filter(guard::SPEND, spend_operand);
    environment.add_filter(guard::REPEAT, repeat_operand);
    environment.add_filter(guard::KEEP, keep);
    environment.add_filter(guard::WALK, walk);
    let counted = [
        ("batch", Value::from_function(filters::batch)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("chain", Value::from_function(filters::chain)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("format", Value::from_function(filters::format)),
        ("groupby", Value::from_function(filters::groupby)),
        ("indent", Value::from_function(filters::indent)),
        ("join", Value::from_function(filters::join)),
        ("lines", Value::from_function(filters::lines)),
        ("list", Value::from_function(filters::list)),
        ("lower", Value::from_function(filters::lower)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("pprint", Value::from_function(filters::pprint)),
        ("replace", Value::from_function(filters::replace)),
        ("reverse", Value::from_function(filters::reverse)),
        ("slice", Value::from_function(filters::slice)),
        ("sort", Value::from_function(filters::sort)),
        ("split", Value::from_function(filters::split)),
        ("string", Value::from_function(python_text::string)),
        ("sum", Value::from_function(filters::sum)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
        ("zip", Value::from_function(filters::zip)),
    ];
    for (name, filter) in counted {
        environment.add_filter(name, move |state: &State, args: Rest<Value>| -> Result<Value, Error> {
            let mut args = args.0;
            if !args.is_empty() {
                spend_call(name, &args)?;
                as_texts(name, &mut args)?;
            }
            filter.call(state, &args)
        });
    }
}

#[cfg(test)]
mod tests;
