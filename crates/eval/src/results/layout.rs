//! JSON that people and diffs can read: each entry of the outer object and each row of its arrays on its own line.

use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Containers this deep put each entry on a line; deeper ones stay on it.
const OPEN_DEPTH: usize = 2;

/// A [`Formatter`] between compact and pretty.
#[derive(Default)]
pub(super) struct RowPerLine {
    depth: usize,
    /// Whether the innermost open container has an entry yet; empty ones stay `[]`.
    has_entry: bool,
}

impl RowPerLine {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_entry = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth < OPEN_DEPTH && self.has_entry {
            self.indent(writer)?;
        }
        writer.write_all(bracket)
    }

    fn entry<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        match (first, self.depth <= OPEN_DEPTH) {
            (true, true) => self.indent(writer),
            (false, true) => writer.write_all(b",").and_then(|()| self.indent(writer)),
            (true, false) => Ok(()),
            (false, false) => writer.write_all(b", "),
        }
    }

    fn indent<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for RowPerLine {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.entry(writer, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_entry = true;
        Ok(())
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.entry(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_entry = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use serde_json::{Value, json};

    fn layout(value: &Value) -> String {
        let mut text = Vec::new();
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, RowPerLine::default())).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_row_is_a_line() {
        let value = json!({"a": {"x": 1}, "none": [], "rows": [{"n": [1, 2]}, {"n": []}]});
        let text = "{\n  \"a\": {\n    \"x\": 1\n  },\n  \"none\": [],\n  \"rows\": [\n    {\"n\": [1, 2]},\n    {\"n\": []}\n  ]\n}";
        assert_eq!(layout(&value), text);
    }

    #[test]
    fn the_layout_changes_no_value() {
        let value = json!({"deep": [[[{"k": {"l": [[], {}, null, "a,b: {c}"]}}]]], "empty": {}, "number": 0.1});
        assert_eq!(serde_json::from_str::<Value>(&layout(&value)).unwrap(), value);
    }
}
