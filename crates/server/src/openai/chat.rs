//! `/v1/chat/completions`.

use super::answer::{Asked, answer};
use super::api::Api;
use super::chat_message::ChatMessage;
use super::logprobs::Logprobs;
use super::parameters::Parameters;
use super::response_format;
use super::tools::{Calls, ToolParameters, message};
use super::usage::finish_reason;
use crate::answering::Piece;
use crate::error::ApiError;
use crate::state::State;
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
    let tools = tools.read(state.engine())?;
    let format = parameters.response_format.as_ref().map(response_format::constraint).transpose()?.flatten();
    if tools.is_some() && format.is_some() {
        let message =
            "an answer that may call tools cannot have a format as well yet: leave `tools` or `response_format` out";
        return Err(ApiError::invalid("response_format", message));
    }
    let others = parameters.logprobs.of_chat()?;
    let chat = |index| Chat {
        index,
        calls: tools.as_ref().map(|tools| Calls::new(tools.form, &tools.tools)),
        logprobs: Logprobs { state: state.clone(), asked: others.is_some() },
        untold: Vec::new(),
    };
    let chats = (0..parameters.answers()?).map(chat).collect();
    answer(state, parameters, chats, others, move |engine| {
        let (tools, constraint, param) = match tools {
            Some(tools) => (tools.tools, Some(tools.constraint), "tools"),
            None => (Vec::new(), format, "response_format"),
        };
        Asked::new(engine, engine.encode_chat_with_tools(&messages, &tools)?, constraint.as_ref(), param)
    })
    .await
}

/// Answers as chat completions.
struct Chat {
    index: usize,
    /// Where tools may be called.
    calls: Option<Calls>,
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

    fn whole(self, generation: &Generation) -> Value {
        let (deltas, any) = match self.calls {
            Some(mut calls) => {
                let mut deltas = calls.deltas(&generation.text);
                deltas.extend(calls.last_delta());
                (deltas, calls.any())
            }
            None => (vec![json!({ "content": generation.text })], false),
        };
        let finish_reason = reason(generation.finish_reason, any);
        let logprobs = self.logprobs.of_chat(&generation.said_tokens);
        json!({ "index": self.index, "message": message(&deltas), "logprobs": logprobs, "finish_reason": finish_reason })
    }

    fn begin(&mut self) -> Option<Value> {
        Some(self.part(json!({ "role": "assistant", "content": "" }), None))
    }

    fn text(&mut self, piece: &Piece) -> Vec<Value> {
        self.untold.extend_from_slice(&piece.tokens);
        let deltas = match &mut self.calls {
            Some(calls) => calls.deltas(&piece.text),
            None => vec![json!({ "content": piece.text })],
        };
        deltas.into_iter().map(|delta| self.part(delta, None)).collect()
    }

    fn end(&mut self, finish: FinishReason) -> Vec<Value> {
        let last = self.calls.as_mut().and_then(Calls::last_delta);
        let any = self.calls.as_ref().is_some_and(Calls::any);
        let mut parts: Vec<Value> = last.into_iter().map(|delta| self.part(delta, None)).collect();
        parts.push(self.part(json!({}), Some(reason(finish, any))));
        parts
    }
}
