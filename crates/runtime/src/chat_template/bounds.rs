//! Bounds for templates: they are programs, and come with models from anyone.
//!
//! Source, steps, time and output are limited, and so is what is ever copied, which limits memory: each text that is printed, joined
//! or handed to a filter counts against [`Allowance::bytes`]. Compiling and rendering have a stack that is deep enough for
//! the longest source.

use super::spending::{BYTES_PER_ITEM, spend, spend_printed, spend_shallow, too_much, visit};
use super::{guard, python_text};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};

/// The widest column and the largest batch that a filter may make.
const MAX_WIDTH: i64 = 1000;
/// A text or list may be repeated this often.
const MAX_REPEATS: i64 = 4096;

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
