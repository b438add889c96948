//! JSON as Python writes it. Models read the prompt byte by byte: another spacing is another prompt.

use super::{bounds, python_text};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The filter `tojson`, as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`, without Jinja's escapes
/// for HTML.
pub(super) fn to_json(
    value: Value,
    ascii: Option<bool>,
    indent: Option<usize>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ascii = match ascii {
        Some(ascii) => Some(ascii),
        None => options.get("ensure_ascii")?,
    };
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let [comma, colon] = match separators.as_deref() {
        None => [if indent.is_some() { "," } else { ", " }, ": "],
        Some([comma, colon]) => [comma.as_str(), colon.as_str()],
        Some(other) => return Err(refused(format!("expected two separators, found {}", other.len()))),
    };
    bounds::spend_indented(&value, indent)?;
    let mut json = Json { out: String::new(), ascii: ascii.unwrap_or(false), indent, comma, colon, sort_keys };
    json.write(&value, 0)?;
    Ok(Value::from_safe_string(json.out))
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {why}"))
}

struct Json<'a> {
    out: String,
    ascii: bool,
    indent: Option<usize>,
    comma: &'a str,
    colon: &'a str,
    sort_keys: bool,
}

impl Json<'_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.items('[', value.try_iter()?.collect(), ']', depth, |json, item| json.write(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.items('{', keys, '}', depth, |json, key| {
                    json.key(key)?;
                    json.out.push_str(json.colon);
                    json.write(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                return Err(refused(format!("expected text, numbers, lists and maps, found a value of type {kind}")));
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        open: char,
        items: Vec<Value>,
        close: char,
        depth: usize,
        write: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (n, item) in items.iter().enumerate() {
            self.out.push_str(if n > 0 { self.comma } else { "" });
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    /// Python makes text of keys that are none.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.text(key.as_str().unwrap_or_default()),
            ValueKind::Number => self.text(&number(key)?),
            ValueKind::Bool => self.text(if key.is_true() { "true" } else { "false" }),
            ValueKind::None => self.text("null"),
            kind => return Err(refused(format!("expected keys of text, found one of type {kind}"))),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || self.ascii && c > '~' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    Ok(match f64::try_from(value.clone())? {
        number if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number => python_text::float(number),
    })
}
