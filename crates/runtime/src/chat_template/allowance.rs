//! What a template may take: its source, steps, copies, time and stack, by the size of its chat.

use super::spending::{too_much, visit};
use crate::deep_stack::{self, NoResult};
use crate::library_panics;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use std::io::{self, Write};
use std::time::Duration;

/// Several times the longest template of a published model.
pub(super) const MAX_SOURCE_BYTES: usize = 64 << 10;
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
/// Steps and bytes end nearly everything long before; a loaded machine must not end what they allow.
pub(super) const COMPILE_TIME: Duration = Duration::from_secs(20);

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
    // Errors hold values of the template, which are taken apart where there is room for it as well.
    let work = move || {
        let result = library_panics::guarded(|| work().map_err(|error| flat(&error)));
        let panicked = |panic| Err(too_much(format!("it made the template engine panic {panic}")));
        result.unwrap_or_else(panicked)
    };
    deep_stack::within(time, STACK_BYTES, "chat template", work).unwrap_or_else(|no_result| {
        Err(match no_result {
            NoResult::NoThread(error) => too_much(format!("no thread for it: {error}")),
            NoResult::TooLong => too_much(format!("it takes more than {} s", time.as_secs())),
            NoResult::Gone => too_much("its thread is gone"),
        })
    })
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
