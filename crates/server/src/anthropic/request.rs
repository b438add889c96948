//! What a client sends.

use crate::content::Content;
use crate::error::ApiError;
use crate::goal::goal;
use crate::sampling::Draw;
use runtime::chat_template::Message;
use runtime::engine::{Engine, EngineError};
use runtime::request::{AttentionMode, Request};
use serde::Deserialize;
use serde_json::Value;

/// Between what two messages of one role in a row say, which are one turn.
const BETWEEN_MESSAGES: &str = "\n\n";

/// Fields of a request, of an answer or of a count of tokens. What would change the answer and is not here yet is refused, not passed
/// over.
#[derive(Deserialize)]
pub(crate) struct MessagesRequest {
    pub model: String,
    messages: Vec<Turn>,
    system: Option<Content>,
    /// Needed where there is to be an answer.
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    seed: Option<u64>,
    stop_sequences: Option<Vec<String>>,
    #[serde(default)]
    pub stream: bool,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    thinking: Option<Value>,
    mcp_servers: Option<Value>,
    output_config: Option<Value>,
    output_format: Option<Value>,
}

#[derive(Deserialize)]
struct Turn {
    role: Role,
    content: Content,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Role {
    User,
    Assistant,
    System,
}

/// A chat for the model's template, and how the assistant begins its answer.
pub(super) struct Chat {
    messages: Vec<Message>,
    opening: String,
}

impl Chat {
    pub fn encode(&self, engine: &Engine) -> Result<Vec<u32>, EngineError> {
        engine.encode_opened_chat(&self.messages, &self.opening)
    }
}

/// The text of a message or of what the model is told, `param`.
fn text_of(content: Content, param: &'static str) -> Result<String, ApiError> {
    content.into_text(&["text"], |kind| {
        ApiError::invalid(param, format!("a block of type `{kind}` is not supported yet: send text"))
    })
}

impl MessagesRequest {
    /// The chat, which is not needed any more then.
    pub(super) fn take_chat(&mut self) -> Result<Chat, ApiError> {
        self.check_known()?;
        let mut turns: Vec<(Role, String)> = Vec::new();
        for Turn { role, content } in std::mem::take(&mut self.messages) {
            let text = text_of(content, "messages")?;
            match turns.last_mut().filter(|(last, _)| *last == role) {
                Some((_, before)) => before.extend([BETWEEN_MESSAGES, &text]),
                None => turns.push((role, text)),
            }
        }
        let opening = turns.pop_if(|(role, _)| *role == Role::Assistant).map(|(_, text)| text).unwrap_or_default();
        if turns.iter().all(|(role, _)| *role == Role::System) {
            return Err(ApiError::invalid("messages", "there is no message of a user to answer: send one"));
        }
        let system = self.system.take().map(|system| text_of(system, "system")).transpose()?;
        let system = system.filter(|text| !text.is_empty()).map(Message::system);
        let message = |(role, text)| match role {
            Role::User => Message::user(text),
            Role::Assistant => Message::assistant(text),
            Role::System => Message::system(text),
        };
        Ok(Chat { messages: system.into_iter().chain(turns.into_iter().map(message)).collect(), opening })
    }

    /// Tokens that the answer may have.
    pub fn max_tokens(&self) -> Result<usize, ApiError> {
        let wrong =
            || ApiError::invalid("max_tokens", "`max_tokens` says how long the answer may be: one token or more");
        self.max_tokens.filter(|tokens| *tokens > 0).ok_or_else(wrong)
    }

    /// The request, of an answer to a prompt of so many tokens. Where the context has less room than was asked for, it takes that.
    pub fn request(&self, engine: &Engine, prompt_tokens: usize) -> Result<Request, ApiError> {
        let Self { temperature, top_p, top_k, seed, .. } = *self;
        // Where there is no room at all, the engine says so.
        let room = engine.room_for_new_tokens(prompt_tokens).max(1);
        Ok(Request {
            max_tokens: self.max_tokens()?.min(room),
            attention: self.attention.unwrap_or_default(),
            goal: goal(self.recall, self.budget.as_deref())?,
            sampling: Draw { temperature, top_p, top_k, seed, ..Draw::default() }.into(),
            stop: self.stop_sequences.clone().unwrap_or_default(),
            ..Request::default()
        })
    }

    fn check_known(&self) -> Result<(), ApiError> {
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let off = |value: &Value| value.is_null() || value["type"] == "disabled";
        for (field, value, fine) in [
            ("tools", &self.tools, empty as fn(&Value) -> bool),
            ("tool_choice", &self.tool_choice, |choice| choice.is_null() || choice["type"] == "none"),
            ("thinking", &self.thinking, off),
            ("mcp_servers", &self.mcp_servers, empty),
            ("output_config", &self.output_config, Value::is_null),
            ("output_format", &self.output_format, Value::is_null),
        ] {
            if !value.as_ref().is_none_or(fine) {
                return Err(ApiError::invalid(field, format!("`{field}` is not supported yet: leave it out")));
            }
        }
        Ok(())
    }
}
