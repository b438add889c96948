//! Bounds for templates: they are programs, and come with models from anyone.

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use std::io::{self, Write};
use std::thread;

/// Several times the longest template of a published model.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Enough for a chain of operators as long as a source may be: the compiler descends once for each.
const STACK_BYTES: usize = 512 << 20;
/// What a template may write whatever the chat.
const OWN_OUTPUT_BYTES: usize = 1 << 20;
/// How often it may write the chat: as text, as JSON, and in pieces.
const OUTPUT_PER_BYTE: usize = 16;
const OWN_STEPS: u64 = 1_000_000;
const STEPS_PER_MESSAGE: u64 = 10_000;
/// The widest column and the largest batch that a filter may make.
const MAX_WIDTH: i64 = 1000;
const MAX_DEPTH: usize = 100;
const MAX_PARTS: usize = 1_000_000;

fn too_much(what: impl Into<String>) -> Error {
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

/// Runs `work` where deep recursion has room.
pub(super) fn with_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
        let thread =
            builder.spawn_scoped(scope, work).map_err(|error| too_much(format!("no thread for it: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(too_much("it made the template engine panic")))
    })
}

/// How many steps a chat of so many messages may take.
pub(super) fn steps(messages: usize) -> u64 {
    OWN_STEPS.saturating_add(STEPS_PER_MESSAGE.saturating_mul(messages as u64))
}

/// Text up to the length that a chat justifies.
pub(super) struct Bounded {
    pub(super) text: Vec<u8>,
    limit: usize,
}

impl Bounded {
    /// For a chat of so many bytes.
    pub(super) fn of_chat(bytes: usize) -> Self {
        Self { text: Vec::new(), limit: OWN_OUTPUT_BYTES.saturating_add(bytes.saturating_mul(OUTPUT_PER_BYTE)) }
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

/// Refuses values that hold themselves, or so many others that printing them would not end.
pub(super) fn check_value(value: &Value) -> Result<(), Error> {
    fn visit(value: &Value, depth: usize, parts: &mut usize) -> Result<(), Error> {
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map) {
            return Ok(());
        }
        if depth == MAX_DEPTH {
            return Err(too_much(format!("it prints a value nested more than {MAX_DEPTH} deep")));
        }
        for item in value.try_iter()? {
            *parts += 1;
            if *parts > MAX_PARTS {
                return Err(too_much(format!("it prints a value of more than {MAX_PARTS} parts")));
            }
            let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
            visit(&item, depth + 1, parts)?;
        }
        Ok(())
    }
    visit(value, 0, &mut 0)
}

/// Refuses widths that would fill the memory.
pub(super) fn check_width(width: &Value) -> Result<(), Error> {
    match width.kind() {
        ValueKind::Number if i64::try_from(width.clone()).is_ok_and(|width| width <= MAX_WIDTH) => Ok(()),
        ValueKind::Number => Err(too_much(format!("it asks for a width of {width}, at most {MAX_WIDTH} is possible"))),
        _ => Ok(()),
    }
}

/// Refuses a format that would fill the memory: one with a width of more than four digits or from an argument.
pub(super) fn check_format(format: &Value) -> Result<(), Error> {
    let format = format.as_str().unwrap_or_default();
    let widest = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    match widest > 4 || format.contains("%*") || format.contains(".*") {
        true => Err(too_much(format!("it asks for too wide a format: `{format}`"))),
        false => Ok(()),
    }
}

/// Puts checks of what they are asked for before the filters that make much of little.
pub(super) fn bound_filters(environment: &mut Environment<'static>) {
    let wide = [
        ("indent", Value::from_function(filters::indent)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
    ];
    for (name, filter) in wide {
        environment.add_filter(name, move |state: &State, args: Rest<Value>| {
            for arg in args.iter().skip(1) {
                check_width(arg)?;
                // Named arguments come as a map.
                if arg.kind() == ValueKind::Map {
                    arg.try_iter()?.try_for_each(|key| check_width(&arg.get_item(&key)?))?;
                }
            }
            filter.call(state, &args)
        });
    }
    let format = Value::from_function(filters::format);
    environment.add_filter("format", move |state: &State, args: Rest<Value>| {
        args.first().map_or(Ok(()), check_format)?;
        format.call(state, &args)
    });
}

#[cfg(test)]
mod tests {
    use crate::chat_template::{ChatTemplate, Message};

    fn render(source: &str) -> Result<String, String> {
        let template = ChatTemplate::new(source, "", "").map_err(|error| error.to_string())?;
        template.render(&[Message::user("hello")], true).map_err(|error| error.to_string())
    }

    #[test]
    fn chains_as_long_as_a_source_may_be_do_not_end_the_process() {
        for (begin, link, end) in [
            ("{{ ", "not ", "1 }}"),
            ("{{ ", "-", "1 }}"),
            ("{{ 1", "-1", " }}"),
            ("{{ 'a'", "~'b'", " }}"),
            ("{{ 'a'", "|trim", " }}"),
            ("{{ a", ".a", " }}"),
            ("{{ a", "[0]", " }}"),
            ("{{ 1", " and 1", " }}"),
            ("{{ 1", " if 1 else 1", " }}"),
            ("{{ 2", "**1", " }}"),
            ("{{ 1", " is odd", " }}"),
            ("", "{% if 1 %}", ""),
            ("{{ ", "(", ""),
        ] {
            let links = (super::MAX_SOURCE_BYTES - begin.len() - end.len()) / link.len();
            // An error or a text: both are answers.
            let _ = render(&format!("{begin}{}{end}", link.repeat(links)));
        }
    }

    #[test]
    fn what_would_not_end_or_fill_the_memory_is_an_error() {
        for (source, expected) in [
            ("{% for i in range(70000) %}{% for j in range(70000) %}{% endfor %}{% endfor %}", "fuel"),
            ("{% for i in range(90000) %}{{ 'a line of some length' }}{% endfor %}", "writes more than"),
            ("{{ 'a\nb'|indent(30000000000) }}", "width"),
            ("{{ 'a\nb'|indent(width=30000000000) }}", "width"),
            ("{{ [1]|batch(30000000000, 0) }}", "width"),
            ("{{ [1]|slice(30000000000)|list }}", "width"),
            ("{{ [1]|tojson(indent=30000000000) }}", "width"),
            ("{{ '%30000000000d'|format(1) }}", "format"),
            ("{{ '{:30000000000}'.format(1) }}", "format"),
            ("{% set n = namespace() %}{% set n.me = n %}{{ n }}", "nested"),
            ("{% set n = namespace() %}{% set n.me = [n] %}{{ n|tojson }}", "nested"),
        ] {
            let message = render(source).unwrap_err();
            assert!(message.contains(expected), "{source}: {message}");
        }
        let long = " ".repeat(super::MAX_SOURCE_BYTES + 1);
        assert!(render(&long).unwrap_err().contains("at most 65536"));
    }

    #[test]
    fn what_templates_do_is_not_bounded() {
        for (source, expected) in [
            ("{{ 'a\nb'|indent(2, true) }}", "  a\n  b"),
            ("{{ '%05.1f'|format(1.25) }}", "001.2"),
            ("{{ [1, 2, 3]|batch(2)|list }}", "[[1, 2], [3]]"),
            ("{{ {'a': [1, {'b': 2}]}|tojson }}", "{\"a\": [1, {\"b\": 2}]}"),
        ] {
            assert_eq!(render(source).unwrap(), expected);
        }
        let long = "word ".repeat(1 << 20);
        let template = ChatTemplate::new("{{ messages[0].content|tojson }}{{ messages[0].content }}", "", "").unwrap();
        assert_eq!(template.render(&[Message::user(&long)], true).unwrap().len(), 2 * long.len() + 2);
    }
}
