//! Messages of a request, as the chat that the model's template reads.

use crate::content::Content;
use crate::error::ApiError;
use crate::tools::Conversation;
use runtime::chat_template::{FunctionCall, Message, ToolCall, ToolKind};
use serde::Deserialize;
use serde_json::{Map, Value};

const PARAM: &str = "messages";
/// Between what two messages of one role in a row say, which are one turn, and between texts that a call stood between.
const BETWEEN_TEXTS: &str = "\n\n";

#[derive(Deserialize)]
pub(super) struct Turn {
    role: Role,
    content: TurnContent,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Role {
    User,
    Assistant,
    System,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TurnContent {
    Text(String),
    Blocks(Vec<Block>),
}

/// Of whatever type, with the fields of all.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Map<String, Value>>,
    tool_use_id: Option<String>,
    content: Option<Content>,
    is_error: Option<bool>,
}

fn invalid(message: String) -> ApiError {
    ApiError::invalid(PARAM, message)
}

fn unsupported(kind: &str) -> ApiError {
    invalid(format!("a block of type `{kind}` is not supported yet: send text"))
}

/// The chat up to the assistant's turn, and how the assistant begins that.
pub(super) fn read(turns: Vec<Turn>) -> Result<(Vec<Message>, String), ApiError> {
    let mut chat = Conversation::new(PARAM);
    for Turn { role, content } in turns {
        match content {
            TurnContent::Text(text) => role.says(&mut chat, BETWEEN_TEXTS, text),
            TurnContent::Blocks(blocks) => {
                let mut between = BETWEEN_TEXTS;
                for block in blocks {
                    between = block.add(role, between, &mut chat)?;
                }
            }
        }
    }
    let mut messages = chat.end()?;
    let opening = messages.pop_if(|last| last.role == Role::Assistant.name());
    if messages.iter().all(|message| message.role == Role::System.name()) {
        return Err(invalid("there is no message of a user to answer: send one".into()));
    }
    Ok((messages, opening.map(|message| message.content).unwrap_or_default()))
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }

    /// Says it on in the last message, where that is of this role.
    fn says(self, chat: &mut Conversation, between: &str, text: String) {
        match chat.last_of(self.name()) {
            Some(last) if last.content.is_empty() => last.content = text,
            Some(last) => last.content.extend([between, &text]),
            None => chat.say(Message::new(self.name(), text)),
        }
    }
}

impl Block {
    /// Adds it behind `between`; what goes before a text behind it.
    fn add(self, role: Role, between: &str, chat: &mut Conversation) -> Result<&'static str, ApiError> {
        let lacks = |field: &str, kind: &str| invalid(format!("a block of type `{kind}` has no `{field}`: give it"));
        let Self { kind, text, id, name, input, tool_use_id, content, is_error } = self;
        match (kind.as_str(), role) {
            ("text", _) => {
                role.says(chat, between, text.ok_or_else(|| lacks("text", &kind))?);
                return Ok("");
            }
            ("tool_use", Role::Assistant) => {
                let id = id.ok_or_else(|| lacks("id", &kind))?;
                let name = name.ok_or_else(|| lacks("name", &kind))?;
                let arguments = input.ok_or_else(|| lacks("input", &kind))?;
                chat.call(ToolCall { id, kind: ToolKind::Function, function: FunctionCall { name, arguments } })?;
            }
            ("tool_result", Role::User) => {
                let id = tool_use_id.ok_or_else(|| lacks("tool_use_id", &kind))?;
                let result = content.map_or(Ok(String::new()), |content| content.into_text(&["text"], unsupported))?;
                // Templates have no word of their own for a tool that failed.
                let result = if is_error.unwrap_or(false) { format!("Error: {result}") } else { result };
                chat.answer(id, result)?;
            }
            ("tool_use" | "tool_result", _) => {
                let message = "a `tool_use` stands in a message of the assistant, a `tool_result` in one of the user";
                return Err(invalid(format!(
                    "a block of type `{kind}` in a message of role `{}`: {message}",
                    role.name()
                )));
            }
            _ => return Err(unsupported(&kind)),
        }
        Ok(BETWEEN_TEXTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_json(turns: Value) -> Result<(Vec<Message>, String), ApiError> {
        read(Vec::deserialize(turns).unwrap())
    }

    #[test]
    fn calls_and_results_become_messages() {
        let turns = json!([
            { "role": "user", "content": "Where" },
            { "role": "user", "content": [{ "type": "text", "text": "is " }, { "type": "text", "text": "it?" }] },
            { "role": "assistant", "content": [
                { "type": "text", "text": "I look." },
                { "type": "tool_use", "id": "a", "name": "find", "input": { "what": "it" } },
                { "type": "tool_use", "id": "b", "name": "now", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "a", "content": [{ "type": "text", "text": "Here." }] },
                { "type": "tool_result", "tool_use_id": "b", "content": "No clock.", "is_error": true },
                { "type": "text", "text": "And now?" },
            ] },
            { "role": "assistant", "content": "It" },
        ]);
        let (messages, opening) = read_json(turns).unwrap();
        assert_eq!(opening, "It");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        assert_eq!(
            said,
            [
                ("user", "Where\n\nis it?"),
                ("assistant", "I look."),
                ("tool", "Here."),
                ("tool", "Error: No clock."),
                ("user", "And now?")
            ]
        );
        let [find, now] = messages[1].tool_calls.as_slice() else { panic!("{messages:?}") };
        assert_eq!((find.id.as_str(), find.function.name.as_str()), ("a", "find"));
        assert_eq!(Value::from(find.function.arguments.clone()), json!({ "what": "it" }));
        assert!(now.function.arguments.is_empty());
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_turn_is_refused() {
        let user = |block: Value| json!([{ "role": "user", "content": [block] }]);
        let called =
            |block: Value| json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": [block] }]);
        for (turns, says) in [
            (user(json!({ "type": "tool_result", "tool_use_id": "a" })), "no call before it"),
            (user(json!({ "type": "tool_result" })), "has no `tool_use_id`"),
            (
                user(json!({ "type": "tool_use", "id": "a", "name": "x", "input": {} })),
                "stands in a message of the assistant",
            ),
            (user(json!({ "type": "text" })), "has no `text`"),
            (user(json!({ "type": "document" })), "a block of type `document` is not supported yet"),
            (called(json!({ "type": "tool_use", "name": "x", "input": {} })), "has no `id`"),
            (called(json!({ "type": "tool_use", "id": "a", "input": {} })), "has no `name`"),
            (called(json!({ "type": "tool_use", "id": "a", "name": "x" })), "has no `input`"),
            (
                called(json!({ "type": "tool_use", "id": "a", "name": "x", "input": {} })),
                "`a` of the tool `x` has no result",
            ),
            (called(json!({ "type": "tool_result", "tool_use_id": "a" })), "in one of the user"),
            (json!([]), "no message of a user"),
        ] {
            let error = read_json(turns).unwrap_err();
            assert!(error.message().contains(says), "{}", error.message());
        }
    }
}
