//! Calls and text of an answer, told apart while it comes.

use super::{CLOSING, CallForm, OPENING, Tool};
use crate::stop_texts::begun;
use std::mem;

/// What a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Text.
    Text(String),
    /// A call begins, of the tool of this name.
    Call(String),
    /// More of the JSON object that holds the arguments of the last call.
    Arguments(String),
}

/// Reads an answer that follows the [constraint](super::constraint) of its tools.
pub struct CallReader {
    form: CallForm,
    /// What an answer begins with that is a call without a tag.
    heads: Vec<String>,
    at: At,
    held: String,
}

/// Where the reader is.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Nothing was read.
    Beginning,
    /// In text.
    Text,
    /// Behind the opening of a call.
    Head,
    /// In its arguments.
    Arguments(Json),
    /// Behind them.
    Tail,
}

/// A place in a JSON object.
#[derive(Clone, Copy, Debug, Default)]
struct Json {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl CallReader {
    /// Of an answer that may call these tools, from its beginning.
    pub fn new(form: CallForm, tools: &[Tool]) -> Self {
        let [before, between, _] = form.around();
        let heads = tools.iter().map(|tool| format!("{before}{}{between}", tool.function.name)).collect();
        Self { form, heads, at: At::Beginning, held: String::new() }
    }

    /// Adds a piece; what is certain now.
    pub fn push(&mut self, piece: &str) -> Vec<Written> {
        self.held.push_str(piece);
        let mut written = Vec::new();
        while self.step(&mut written) {}
        written
    }

    /// Ends the answer: text that might have become a call is text.
    pub fn finish(&mut self) -> Option<Written> {
        let held = mem::take(&mut self.held);
        (matches!(self.at, At::Beginning | At::Text) && !held.is_empty()).then_some(Written::Text(held))
    }

    /// Reads up to the next border; whether there may be another.
    fn step(&mut self, written: &mut Vec<Written>) -> bool {
        match self.at {
            At::Beginning => self.begin(),
            At::Text => self.text(written),
            At::Head => self.head(written),
            At::Arguments(json) => self.arguments(json, written),
            At::Tail => self.tail(),
        }
    }

    fn begin(&mut self) -> bool {
        let held = self.held.as_str();
        self.at = match &self.heads {
            heads if heads.iter().any(|head| held.starts_with(head)) => At::Head,
            heads if heads.iter().any(|head| head.starts_with(held)) => return false,
            _ => At::Text,
        };
        true
    }

    fn text(&mut self, written: &mut Vec<Written>) -> bool {
        let opening = (self.form == CallForm::Tagged).then(|| self.held.find(OPENING)).flatten();
        let certain = match (opening, self.form) {
            (Some(at), _) => at,
            (None, CallForm::Tagged) => self.held.len() - begun(&self.held, OPENING),
            (None, CallForm::Bare) => self.held.len(),
        };
        let text: String = self.held.drain(..certain).collect();
        if !text.is_empty() {
            written.push(Written::Text(text));
        }
        if opening.is_some() {
            self.held.drain(..OPENING.len());
            self.at = At::Head;
        }
        opening.is_some()
    }

    fn head(&mut self, written: &mut Vec<Written>) -> bool {
        let [before, between, _] = self.form.around();
        let named = self.held.trim_start().strip_prefix(before).and_then(|rest| rest.split_once(between));
        let Some((name, rest)) = named else { return false };
        written.push(Written::Call(name.into()));
        self.held = rest.into();
        self.at = At::Arguments(Json::default());
        true
    }

    fn arguments(&mut self, mut json: Json, written: &mut Vec<Written>) -> bool {
        let end = self.held.bytes().position(|byte| json.ends_with(byte));
        let rest = self.held.split_off(end.map_or(self.held.len(), |last| last + 1));
        let arguments = mem::replace(&mut self.held, rest);
        if !arguments.is_empty() {
            written.push(Written::Arguments(arguments));
        }
        self.at = if end.is_some() { At::Tail } else { At::Arguments(json) };
        end.is_some()
    }

    fn tail(&mut self) -> bool {
        let Some(at) = self.held.find(CLOSING) else { return false };
        // What stands between two calls is no text.
        let rest = self.held[at + CLOSING.len()..].trim_start();
        if rest.is_empty() {
            return false;
        }
        self.held = rest.into();
        self.at = At::Text;
        true
    }
}

impl Json {
    /// Goes on by a byte; whether the object ends with it.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' => self.depth += 1,
            b'}' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
