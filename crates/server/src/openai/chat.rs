//! `/v1/chat/completions`.

use super::answer::answer;
use super::api::Api;
use super::chat_calls::{delta, message};
use super::chat_message::ChatMessage;
use super::logprobs::Logprobs;
use super::parameters::Parameters;
use super::response_format;
use super::tools::{FunctionFields, ToolParameters};
use super::usage::finish_reason;
use crate::answering::Piece;
use crate::asked::Asked;
use crate::error::ApiError;
use crate::state::State;
use crate::tools::{AnswerBlocks, Change};
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use runtime::chat_template::Message;
use runtime::log_probabilities::SaidToken;
use runtime::request::{FinishReason, Generation};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    messages: Vec<ChatMessage>,
    #[serde(flatten)]
    tools: ToolParameters,
    #[serde(flatten)]
    parameters: Parameters,
}

pub(crate) async fn complete(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<ChatRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(ChatRequest { messages, tools, parameters }) = body?;
    let messages: Vec<Message> = messages.into_iter().map(ChatMessage::into_message).collect::<Result<_, _>>()?;
    let tools = tools.read(state.engine(), FunctionFields::Nested)?;
    let format = parameters.response_format.as_ref().map(response_format::constraint).transpose()?.flatten();
    if tools.is_some() && format.is_some() {
        let message =
            "an answer that may call tools cannot have a format as well yet: leave `tools` or `response_format` out";
        return Err(ApiError::invalid("response_format", message));
    }
    let others = parameters.logprobs.of_chat()?;
    let chat = |index| Chat {
        index,
        blocks: AnswerBlocks::new(tools.as_ref()),
        logprobs: Logprobs { state: state.clone(), asked: others.is_some() },
        untold: Vec::new(),
    };
    let chats = (0..parameters.answers()?).map(chat).collect();
    answer(state, parameters, chats, others, move |engine| {
        let (tools, constraint, param) = match tools {
            Some(tools) => (tools.tools, Some(tools.constraint), "tools"),
            None => (Vec::new(), format, "response_format"),
        };
        Asked::new(engine, engine.encode_chat_with_tools(&messages, &tools, "")?, constraint.as_ref(), param)
    })
    .await
}

/// Answers as chat completions.
struct Chat {
    index: usize,
    blocks: AnswerBlocks,
    logprobs: Logprobs,
    /// Tokens of which no part said yet how likely they were.
    untold: Vec<SaidToken>,
}

impl Chat {
    fn part(&mut self, delta: Value, finish_reason: Option<&str>) -> Value {
        let logprobs = match std::mem::take(&mut self.untold).as_slice() {
            [] => Value::Null,
            tokens => self.logprobs.of_chat(tokens),
        };
        json!({ "index": self.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason })
    }

    fn parts(&mut self, changes: Vec<Change>) -> Vec<Value> {
        let deltas: Vec<Value> = changes.into_iter().filter_map(|change| delta(self.blocks.all(), change)).collect();
        deltas.into_iter().map(|delta| self.part(delta, None)).collect()
    }
}

/// A call that was cut short is none to answer to.
fn reason(reason: FinishReason, calls: bool) -> &'static str {
    match (finish_reason(reason), calls) {
        ("stop", true) => "tool_calls",
        (reason, _) => reason,
    }
}

impl Api for Chat {
    const ID: &str = "chatcmpl";
    const OBJECTS: [&str; 2] = ["chat.completion", "chat.completion.chunk"];
    const DEFAULT_TOKENS: Option<usize> = None;

    fn whole(mut self, generation: &Generation) -> Value {
        self.blocks.read(&generation.text);
        let finish_reason = reason(generation.finish_reason, self.blocks.any_call());
        let logprobs = self.logprobs.of_chat(&generation.said_tokens);
        let message = message(self.blocks.all());
        json!({ "index": self.index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason })
    }

    fn begin(&mut self) -> Option<Value> {
        Some(self.part(json!({ "role": "assistant", "content": "" }), None))
    }

    fn text(&mut self, piece: &Piece) -> Vec<Value> {
        self.untold.extend_from_slice(&piece.tokens);
        let changes = self.blocks.push(&piece.text);
        self.parts(changes)
    }

    fn end(&mut self, finish: FinishReason) -> Vec<Value> {
        let changes = self.blocks.finish();
        let mut parts = self.parts(changes);
        parts.push(self.part(json!({}), Some(reason(finish, self.blocks.any_call()))));
        parts
    }
}
