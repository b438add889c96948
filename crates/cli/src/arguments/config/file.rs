//! A TOML file of options, as words of a command line.

use clap::{Arg, ArgAction};
use std::any::TypeId;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value that the file gives an option.
pub struct Entry {
    /// Of the flag, within clap.
    pub id: String,
    /// Of the flag, without dashes.
    pub name: String,
    /// The word of a command line that says the same.
    pub word: String,
    /// File and line.
    pub place: String,
}

/// What a value is in TOML.
#[derive(Clone, Copy)]
pub enum Kind {
    Switch,
    Integer,
    /// Bytes: `16M`, or a number of them.
    Bytes,
    Text,
}

impl Kind {
    /// By what clap makes of it.
    pub fn of(flag: &Arg) -> Self {
        let made = flag.get_value_parser().type_id();
        match flag.get_action() {
            ArgAction::SetTrue => Self::Switch,
            _ if made == TypeId::of::<usize>() => Self::Integer,
            _ if made == TypeId::of::<u64>() => Self::Bytes,
            _ => Self::Text,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Integer => "a whole number",
            Self::Bytes => "a whole number, or a text like \"16M\"",
            Self::Text => "a text in quotes",
        }
    }

    /// A value as the file has it.
    pub fn write(self, value: &str) -> String {
        match self {
            Self::Switch | Self::Integer => value.into(),
            Self::Bytes if value.bytes().all(|byte| byte.is_ascii_digit()) => value.into(),
            Self::Bytes | Self::Text => toml::Value::from(value).to_string(),
        }
    }
}

/// What the file at `path` says of these flags.
///
/// # Errors
/// In words: a file that cannot be read or is no TOML, keys that are none of the flags or stand there twice, values of another type.
pub fn read(path: &Path, flags: &[&Arg]) -> Result<Vec<Entry>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {name}: {error}; --config names a TOML file of options"))?;
    let place = |at: usize| format!("{name}, line {}", text[..at].matches('\n').count() + 1);
    let table = DeTable::parse(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        format!("{}: {}", place(at), error.message())
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, value) in table.get_ref() {
        let place = place(key.span().start);
        let entry = entry(key.get_ref(), value, flags, &place).map_err(|problem| format!("{place}: {problem}"))?;
        if let Some(twice) = entries.iter().find(|before| before.id == entry.id) {
            return Err(format!("{place}: `{}` stands at {} already: keep one", entry.name, twice.place));
        }
        entries.push(entry);
    }
    // What is false need not be said.
    entries.retain(|entry| !entry.word.is_empty());
    Ok(entries)
}

fn entry(key: &str, value: &Spanned<DeValue>, flags: &[&Arg], place: &str) -> Result<Entry, String> {
    let name = key.replace('_', "-");
    let flag = flags.iter().find(|flag| flag.get_long() == Some(&name)).ok_or_else(|| unknown(key, flags))?;
    let kind = Kind::of(flag);
    let word = match (value.get_ref(), kind) {
        (DeValue::Boolean(true), Kind::Switch) => format!("--{name}"),
        (DeValue::Boolean(false), Kind::Switch) => String::new(),
        (DeValue::Integer(number), Kind::Integer | Kind::Bytes) => format!("--{name}={}", decimal(key, number)?),
        (DeValue::String(text), Kind::Bytes | Kind::Text) => format!("--{name}={text}"),
        (other, _) => return Err(format!("`{key}` is of type {}: expected {}", other.type_str(), kind.expected())),
    };
    Ok(Entry { id: flag.get_id().to_string(), name, word, place: place.into() })
}

/// TOML has hexadecimal numbers as well.
fn decimal(key: &str, number: &toml::de::DeInteger) -> Result<i64, String> {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| format!("`{key}` is {number}: expected a whole number of at most {}", i64::MAX))
}

fn unknown(key: &str, flags: &[&Arg]) -> String {
    let names: Vec<&str> = flags.iter().filter_map(|flag| flag.get_long()).collect();
    let secret = match key.replace('_', "-").as_str() {
        "api-key" => "; a key stands in a file of its own (api-key-file) or in the environment",
        _ => "",
    };
    format!("there is no option `{key}`{secret}; expected one of {}", names.join(", "))
}
