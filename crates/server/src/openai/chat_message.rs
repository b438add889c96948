//! Messages of a chat as OpenAI's API has them.

use super::tools::tool_call;
use crate::content::Content;
use crate::error::ApiError;
use runtime::chat_template::{Message, ToolCall};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct ChatMessage {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    /// JSON in a text.
    arguments: String,
}

fn invalid(problem: String) -> ApiError {
    ApiError::invalid("messages", problem)
}

impl ChatMessage {
    pub fn into_message(self) -> Result<Message, ApiError> {
        // What newer clients call the system's part.
        let role = if self.role == "developer" { "system".into() } else { self.role };
        let calls = self.tool_calls.unwrap_or_default();
        let tool_calls = calls.into_iter().map(Call::into_tool_call).collect::<Result<Vec<_>, _>>()?;
        let content = match self.content {
            Some(content) => {
                content.into_text(&["text"], |kind| invalid(format!("a part of type `{kind}`: send text")))?
            }
            None if tool_calls.is_empty() => {
                return Err(invalid(format!("a message of role `{role}` has no content: give a text")));
            }
            None => String::new(),
        };
        Ok(Message { role, content, tool_calls, tool_call_id: self.tool_call_id, name: self.name })
    }
}

impl Call {
    fn into_tool_call(self) -> Result<ToolCall, ApiError> {
        let Self { id, function: Function { name, arguments } } = self;
        tool_call(id, name, &arguments, "messages")
    }
}
