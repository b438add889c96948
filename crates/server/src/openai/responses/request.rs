//! What a client sends.

use super::input::Input;
use crate::error::ApiError;
use crate::goal::goal;
use crate::openai::tools::ToolParameters;
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
    pub stream: Option<bool>,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    #[serde(flatten)]
    pub(super) tools: ToolParameters,
    text: Option<Value>,
    previous_response_id: Option<Value>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    background: Option<bool>,
    top_logprobs: Option<usize>,
}

impl ResponsesRequest {
    /// The chat, which is not needed any more then.
    pub fn take_messages(&mut self) -> Result<Vec<Message>, ApiError> {
        self.check_known()?;
        let instructions = self.instructions.clone().map(Message::system);
        let messages = std::mem::replace(&mut self.input, Input::Items(Vec::new())).into_messages()?;
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
        let is_text = |text: &Value| text["format"].is_null() || text["format"]["type"] == "text";
        for (field, fine) in [
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
