//! What an answer consists of: texts and calls, told apart while it comes.

use super::Tools;
use crate::random;
use runtime::tool_calls::{CallReader, Written};

/// A text or a call of an answer.
#[derive(Debug)]
pub(crate) struct Block {
    /// Which no other block has; APIs write before it what it is the id of.
    pub id: String,
    pub kind: Kind,
    /// Text, or the JSON object of a call's arguments; a beginning of that where the answer was cut short.
    pub content: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Of the tool of this name.
    Call(String),
}

/// Something new about the block of this number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub block: usize,
    pub what: What,
}

/// Every block begins, and ends before the next one does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Begins,
    /// This is added to its content.
    More(String),
    Ends,
}

/// The blocks of one answer, as they come.
pub(crate) struct AnswerBlocks {
    /// Where tools may be called.
    reader: Option<CallReader>,
    blocks: Vec<Block>,
}

impl AnswerBlocks {
    /// Of an answer that may call these.
    pub fn new(tools: Option<&Tools>) -> Self {
        Self { reader: tools.map(|Tools { tools, form, .. }| CallReader::new(*form, tools)), blocks: Vec::new() }
    }

    /// Those so far.
    pub fn all(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether one is a call.
    pub fn any_call(&self) -> bool {
        self.blocks.iter().any(|block| block.kind != Kind::Text)
    }

    /// What a piece of the answer changes.
    pub fn push(&mut self, piece: &str) -> Vec<Change> {
        let written = match &mut self.reader {
            Some(reader) => reader.push(piece),
            None => vec![Written::Text(piece.into())],
        };
        let mut changes = Vec::new();
        written.into_iter().for_each(|written| self.add(written, &mut changes));
        changes
    }

    /// What its end does: there is a block then, of no text where nothing was said, and the last one ends.
    pub fn finish(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(written) = self.reader.as_mut().and_then(CallReader::finish) {
            self.add(written, &mut changes);
        }
        if self.blocks.is_empty() {
            self.begin(Kind::Text, &mut changes);
        }
        self.end(&mut changes);
        changes
    }

    /// Takes a whole answer.
    pub fn read(&mut self, answer: &str) {
        self.push(answer);
        self.finish();
    }

    fn add(&mut self, written: Written, changes: &mut Vec<Change>) {
        let more = match written {
            Written::Call(tool) => return self.begin(Kind::Call(tool), changes),
            Written::Text(text) if text.is_empty() => return,
            Written::Text(text) => {
                if self.blocks.last().is_none_or(|last| last.kind != Kind::Text) {
                    self.begin(Kind::Text, changes);
                }
                text
            }
            // They come behind a call only.
            Written::Arguments(json) => json,
        };
        if let Some(last) = self.blocks.last_mut() {
            last.content += &more;
            changes.push(Change { block: self.blocks.len() - 1, what: What::More(more) });
        }
    }

    fn begin(&mut self, kind: Kind, changes: &mut Vec<Change>) {
        self.end(changes);
        changes.push(Change { block: self.blocks.len(), what: What::Begins });
        self.blocks.push(Block { id: random::name(""), kind, content: String::new() });
    }

    /// Ends the last one, where there is one.
    fn end(&self, changes: &mut Vec<Change>) {
        if let Some(block) = self.blocks.len().checked_sub(1) {
            changes.push(Change { block, what: What::Ends });
        }
    }
}

#[cfg(test)]
impl AnswerBlocks {
    /// Of an answer that may call tools of these names, in tags.
    pub fn of_calls(names: &[&str]) -> Self {
        use runtime::tool_calls::{CallForm, Tool};
        let tool = |name| serde_json::json!({ "type": "function", "function": { "name": name } });
        let tools: Vec<Tool> = names.iter().map(|name| serde_json::from_value(tool(name)).unwrap()).collect();
        Self { reader: Some(CallReader::new(CallForm::Tagged, &tools)), blocks: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"in\": \"Ulm\"}}\n</tool_call>";

    #[test]
    fn blocks_are_the_same_in_whatever_pieces_they_come() {
        let text = |text: &str| (Kind::Text, text.to_owned());
        let call = || (Kind::Call("now".into()), "{\"in\": \"Ulm\"}".to_owned());
        for (calls, answer, expected) in [
            (false, "", vec![text("")]),
            (true, "", vec![text("")]),
            (false, CALL, vec![text(CALL)]),
            (true, "It is <five>.", vec![text("It is <five>.")]),
            (true, CALL, vec![call()]),
            (true, &format!("I look.\n{CALL}\n{CALL}"), vec![text("I look.\n"), call(), call()]),
            // Cut short.
            (true, &CALL[..50], vec![(Kind::Call("now".into()), "{\"in\": \"U".into())]),
        ] {
            for characters in [1, 3, 1000] {
                let mut blocks = if calls { AnswerBlocks::of_calls(&["now"]) } else { AnswerBlocks::new(None) };
                let characters_of: Vec<char> = answer.chars().collect();
                let mut changes = Vec::new();
                for piece in characters_of.chunks(characters) {
                    changes.extend(blocks.push(&piece.iter().collect::<String>()));
                }
                changes.extend(blocks.finish());
                let found: Vec<_> =
                    blocks.all().iter().map(|block| (block.kind.clone(), block.content.clone())).collect();
                assert_eq!(found, expected, "{answer}");
                assert_eq!(blocks.any_call(), expected.iter().any(|(kind, _)| *kind != Kind::Text));
                // Each begins, goes on and ends before the next one begins.
                let mut changes = changes.into_iter().peekable();
                for (number, (_, content)) in expected.iter().enumerate() {
                    assert_eq!(changes.next(), Some(Change { block: number, what: What::Begins }));
                    let mut said = String::new();
                    while let Some(Change { block, what: What::More(more) }) =
                        changes.next_if(|change| matches!(change.what, What::More(_)))
                    {
                        assert_eq!(block, number);
                        said += &more;
                    }
                    assert_eq!(said, *content);
                    assert_eq!(changes.next(), Some(Change { block: number, what: What::Ends }));
                }
                assert_eq!(changes.next(), None);
            }
        }
    }
}
