//! What a client sends.

use crate::content::Content;
use crate::error::ApiError;
use crate::goal::goal;
use crate::sampling::Draw;
use runtime::chat_template::Message;
use runtime::engine::Engine;
use runtime::request::{AttentionMode, Request};
use serde::Deserialize;
use serde_json::Value;

/// Fields of a request. Those that would change the answer and are not here yet are refused, not passed over.
#[derive(Deserialize)]
pub(crate) struct ResponsesRequest {
    pub model: Option<String>,
    input: Input,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<usize>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    top_k: Option<usize>,
    seed: Option<u64>,
    #[serde(default)]
    pub stream: bool,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    text: Option<Value>,
    previous_response_id: Option<Value>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    background: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// A message; other kinds of items are refused by their names.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
}

impl Item {
    fn into_message(self) -> Result<Message, ApiError> {
        let wrong = |what: String| Err(ApiError::invalid("input", what));
        let kind = self.kind.as_deref().unwrap_or("message");
        let (Some(role), Some(content)) = (self.role, self.content) else {
            return wrong(format!(
                "an item of type `{kind}` without role or content is not supported yet: send messages"
            ));
        };
        if kind != "message" {
            return wrong(format!("an item of type `{kind}` is not supported yet: send messages"));
        }
        let role = if role == "developer" { "system".into() } else { role };
        let refuse = |kind: &str| ApiError::invalid("input", format!("a part of type `{kind}`: send text"));
        let content = content.into_text(&["input_text", "output_text", "text"], refuse)?;
        Ok(Message::new(role, content))
    }
}

impl ResponsesRequest {
    /// The chat, which is not needed any more then.
    pub fn take_messages(&mut self) -> Result<Vec<Message>, ApiError> {
        self.check_known()?;
        let instructions = self.instructions.clone().map(Message::system);
        let messages = match std::mem::replace(&mut self.input, Input::Items(Vec::new())) {
            Input::Text(text) => vec![Message::user(text)],
            Input::Items(items) => items.into_iter().map(Item::into_message).collect::<Result<_, _>>()?,
        };
        if messages.is_empty() {
            return Err(ApiError::invalid("input", "there is no message to answer: send one"));
        }
        Ok(instructions.into_iter().chain(messages).collect())
    }

    /// The request, of an answer to a prompt of so many tokens.
    pub fn request(&self, engine: &Engine, prompt_tokens: usize) -> Result<Request, ApiError> {
        let Self { temperature, top_p, top_k, seed, .. } = *self;
        Ok(Request {
            max_tokens: self.max_output_tokens.unwrap_or_else(|| engine.room_for_new_tokens(prompt_tokens)),
            attention: self.attention.unwrap_or_default(),
            goal: goal(self.recall, self.budget.as_deref())?,
            sampling: Draw { temperature, top_p, top_k, seed, ..Draw::default() }.into(),
            ..Request::default()
        })
    }

    fn check_known(&self) -> Result<(), ApiError> {
        let nothing = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_null);
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let auto = |value: &Value| value.is_null() || *value == "auto" || *value == "none";
        let is_text = |text: &Value| text["format"].is_null() || text["format"]["type"] == "text";
        for (field, fine) in [
            ("tools", self.tools.as_ref().is_none_or(empty)),
            ("tool_choice", self.tool_choice.as_ref().is_none_or(auto)),
            ("text", self.text.as_ref().is_none_or(is_text)),
            ("previous_response_id", nothing(&self.previous_response_id)),
            ("conversation", nothing(&self.conversation)),
            ("prompt", nothing(&self.prompt)),
            ("background", !self.background.unwrap_or(false)),
            ("top_logprobs", self.top_logprobs.unwrap_or(0) == 0),
        ] {
            if !fine {
                return Err(ApiError::invalid(field, format!("`{field}` is not supported yet: leave it out")));
            }
        }
        Ok(())
    }
}
