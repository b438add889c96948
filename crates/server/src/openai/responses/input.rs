//! Items of a request, as the chat that the model's template reads.

use crate::content::Content;
use crate::error::ApiError;
use crate::openai::tools::tool_call;
use crate::tools::Conversation;
use runtime::chat_template::Message;
use serde::Deserialize;

const PARAM: &str = "input";
const TEXTS: [&str; 3] = ["input_text", "output_text", "text"];

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// A message, a call or its result, with the fields of all; other kinds of items are refused by their names.
#[derive(Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Content>,
}

impl Input {
    /// The chat, without what instructions say.
    pub fn into_messages(self) -> Result<Vec<Message>, ApiError> {
        let mut chat = Conversation::new(PARAM);
        match self {
            Self::Text(text) => chat.say(Message::user(text)),
            Self::Items(items) => items.into_iter().try_for_each(|item| item.add(&mut chat))?,
        }
        let messages = chat.end()?;
        match messages.is_empty() {
            true => Err(ApiError::invalid(PARAM, "there is no message to answer: send one")),
            false => Ok(messages),
        }
    }
}

fn text_of(content: Content) -> Result<String, ApiError> {
    content.into_text(&TEXTS, |kind| ApiError::invalid(PARAM, format!("a part of type `{kind}`: send text")))
}

impl Item {
    fn add(self, chat: &mut Conversation) -> Result<(), ApiError> {
        let Self { kind, role, content, call_id, name, arguments, output } = self;
        let kind = kind.as_deref().unwrap_or("message");
        let lacks =
            |field: &str| ApiError::invalid(PARAM, format!("an item of type `{kind}` has no `{field}`: give it"));
        match kind {
            "message" => {
                let role = role.ok_or_else(|| lacks("role"))?;
                let role = if role == "developer" { "system".into() } else { role };
                chat.say(Message::new(role, text_of(content.ok_or_else(|| lacks("content"))?)?));
            }
            "function_call" => {
                let id = call_id.ok_or_else(|| lacks("call_id"))?;
                let name = name.ok_or_else(|| lacks("name"))?;
                chat.call(tool_call(id, name, &arguments.ok_or_else(|| lacks("arguments"))?, PARAM)?)?;
            }
            "function_call_output" => {
                let id = call_id.ok_or_else(|| lacks("call_id"))?;
                chat.answer(id, text_of(output.ok_or_else(|| lacks("output"))?)?)?;
            }
            _ => {
                let known = "send messages, calls of functions and their outputs";
                return Err(ApiError::invalid(PARAM, format!("an item of type `{kind}` is not supported: {known}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(items: Value) -> Result<Vec<Message>, ApiError> {
        Input::deserialize(items).unwrap().into_messages()
    }

    #[test]
    fn calls_and_outputs_become_messages() {
        let items = json!([
            { "role": "user", "content": "Where is it?" },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look." }] },
            { "type": "function_call", "id": "fc_1", "call_id": "a", "name": "find", "arguments": "{\"what\": \"it\"}", "status": "completed" },
            { "type": "function_call", "call_id": "b", "name": "now", "arguments": "" },
            { "type": "function_call_output", "call_id": "b", "output": "Noon." },
            { "type": "function_call_output", "call_id": "a", "output": [{ "type": "input_text", "text": "Here." }] },
        ]);
        let messages = read(items).unwrap();
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        assert_eq!(said, [("user", "Where is it?"), ("assistant", "I look."), ("tool", "Noon."), ("tool", "Here.")]);
        let [find, now] = messages[1].tool_calls.as_slice() else { panic!("{messages:?}") };
        assert_eq!(Value::from(find.function.arguments.clone()), json!({ "what": "it" }));
        assert!(now.function.arguments.is_empty() && now.id == "b");
    }

    #[test]
    fn what_is_no_item_is_refused() {
        for (item, says) in [
            (json!({ "type": "function_call_output", "call_id": "a", "output": "7" }), "no call before it"),
            (json!({ "type": "function_call_output", "output": "7" }), "has no `call_id`"),
            (json!({ "type": "function_call", "call_id": "a", "name": "x" }), "has no `arguments`"),
            (json!({ "type": "function_call", "call_id": "a", "name": "x", "arguments": "[" }), "no JSON object"),
            (json!({ "type": "function_call", "call_id": "a", "name": "x", "arguments": "{}" }), "has no result"),
            (json!({ "type": "web_search_call", "id": "a" }), "an item of type `web_search_call` is not supported"),
            (json!({ "role": "user" }), "has no `content`"),
        ] {
            let error = read(json!([item])).unwrap_err();
            assert!(error.message().contains(says), "{}", error.message());
        }
    }
}
