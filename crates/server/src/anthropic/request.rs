//! What a client sends.

use super::error::NO_THREADS;
use super::tools::{self, Choice, Definition};
use super::turns::{self, Turn};
use crate::content::Content;
use crate::error::ApiError;
use crate::goal::goal;
use crate::sampling::Draw;
use crate::tools::Tools;
use runtime::chat_template::Message;
use runtime::engine::{Engine, EngineError};
use runtime::request::{AttentionMode, Request};
use serde::Deserialize;
use serde_json::Value;

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
    pub stream: Option<bool>,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    tools: Option<Vec<Definition>>,
    tool_choice: Option<Choice>,
    thinking: Option<Value>,
    mcp_servers: Option<Value>,
    thread: Option<Value>,
    output_config: Option<Value>,
    output_format: Option<Value>,
}

/// A chat for the model's template, and how the assistant begins its answer.
pub(super) struct Chat {
    messages: Vec<Message>,
    opening: String,
}

impl Chat {
    /// Its tokens, of an assistant that may call these.
    pub fn encode(&self, engine: &Engine, tools: Option<&Tools>) -> Result<Vec<u32>, EngineError> {
        let tools = tools.map_or(&[][..], |tools| &tools.tools);
        engine.encode_chat_with_tools(&self.messages, tools, &self.opening)
    }
}

/// The text of what the model is told.
fn text_of(system: Content) -> Result<String, ApiError> {
    system.into_text(&["text"], |kind| {
        ApiError::invalid("system", format!("a block of type `{kind}` is not supported yet: send text"))
    })
}

impl MessagesRequest {
    /// The chat, which is not needed any more then.
    pub(super) fn take_chat(&mut self) -> Result<Chat, ApiError> {
        self.check_known()?;
        let system = self.system.take().map(text_of).transpose()?;
        let system = system.filter(|text| !text.is_empty()).map(Message::system);
        let (turns, opening) = turns::read(std::mem::take(&mut self.messages))?;
        Ok(Chat { messages: system.into_iter().chain(turns).collect(), opening })
    }

    /// Tools that the answer may call, which are not needed any more then; nothing where none may be called.
    pub(super) fn take_tools(&mut self, engine: &Engine) -> Result<Option<Tools>, ApiError> {
        tools::read(engine, self.tools.take().unwrap_or_default(), self.tool_choice.take())
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
        if self.thread.as_ref().is_some_and(|thread| !thread.is_null()) {
            let message = "no threads are kept here: send all messages, without `thread`";
            return Err(ApiError::invalid("thread", message).coded(NO_THREADS));
        }
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let off = |value: &Value| value.is_null() || value["type"] == "disabled";
        for (field, value, fine) in [
            ("thinking", &self.thinking, off as fn(&Value) -> bool),
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
