//! `/v1/chat/completions`.

use super::answer::{Asked, answer};
use super::api::Api;
use super::chat_message::ChatMessage;
use super::parameters::Parameters;
use super::response_format;
use super::tools::{Calls, ToolParameters, message};
use super::usage::finish_reason;
use crate::error::ApiError;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use runtime::chat_template::Message;
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
    let chat = Chat { calls: tools.as_ref().map(|tools| Calls::new(tools.form, &tools.tools)) };
    answer(state, parameters, chat, move |engine| {
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
    /// Where tools may be called.
    calls: Option<Calls>,
}

fn choice(delta: Value, finish_reason: Option<&str>) -> Value {
    json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason })
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
        json!({ "index": 0, "message": message(&deltas), "logprobs": null, "finish_reason": finish_reason })
    }

    fn begin(&mut self) -> Option<Value> {
        Some(choice(json!({ "role": "assistant", "content": "" }), None))
    }

    fn text(&mut self, piece: &str) -> Vec<Value> {
        let deltas = match &mut self.calls {
            Some(calls) => calls.deltas(piece),
            None => vec![json!({ "content": piece })],
        };
        deltas.into_iter().map(|delta| choice(delta, None)).collect()
    }

    fn end(&mut self, finish: FinishReason) -> Vec<Value> {
        let last = self.calls.as_mut().and_then(Calls::last_delta).map(|delta| choice(delta, None));
        let any = self.calls.as_ref().is_some_and(Calls::any);
        last.into_iter().chain([choice(json!({}), Some(reason(finish, any)))]).collect()
    }
}
