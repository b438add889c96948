//! `/v1/chat/completions`.

use super::models;
use super::parameters::{Parameters, id};
use super::stream::{self, Chunks};
use super::usage::{Usage, finish_reason};
use crate::answering::Answering;
use crate::error::ApiError;
use crate::state::{State, now};
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use runtime::chat_template::Message;
use runtime::request::Generation;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    messages: Vec<ChatMessage>,
    #[serde(flatten)]
    parameters: Parameters,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl ChatMessage {
    fn into_message(self) -> Result<Message, ApiError> {
        // What newer clients call the system's part.
        let role = if self.role == "developer" { "system".into() } else { self.role };
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                let text = |part: Part| match (part.kind.as_str(), part.text) {
                    ("text", Some(text)) => Ok(text),
                    (kind, _) => Err(ApiError::invalid("messages", format!("a part of type `{kind}`: send text"))),
                };
                parts.into_iter().map(text).collect::<Result<_, _>>()?
            }
        };
        Ok(Message { role, content })
    }
}

pub(crate) async fn complete(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<ChatRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(ChatRequest { messages, parameters }) = body?;
    if let Some(asked) = &parameters.model {
        models::check(&state, asked)?;
    }
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let messages = messages.into_iter().map(ChatMessage::into_message).collect::<Result<Vec<_>, _>>()?;
    let encoding = state.clone();
    // A long text takes its time.
    let prompt = tokio::task::spawn_blocking(move || encoding.engine().encode_chat(&messages));
    let prompt = prompt.await.map_err(|_| ApiError::gone())??;
    let request = parameters.request(state.engine(), prompt.len(), None)?;
    let answering = Answering::ask(&state, place, prompt, request);
    let answer = Answer { model: state.engine().model_name().into(), created: now(), id: id("chatcmpl") };
    if parameters.stream {
        let usage = parameters.stream_options.include_usage;
        return Ok(stream::response(answering, Streamed { answer, usage }));
    }
    Ok(Json(answer.whole(&answering.end().await?)).into_response())
}

/// What is said of an answer beside its text.
struct Answer {
    id: String,
    created: u64,
    model: String,
}

impl Answer {
    fn whole(&self, generation: &Generation) -> Value {
        let Self { id, created, model } = self;
        json!({
            "id": id, "object": "chat.completion", "created": created, "model": model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": generation.text, "refusal": null },
                "logprobs": null,
                "finish_reason": finish_reason(generation.finish_reason),
            }],
            "usage": Usage::of(generation),
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        let Self { id, created, model } = self;
        json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices })
    }
}

struct Streamed {
    answer: Answer,
    usage: bool,
}

impl Streamed {
    fn delta(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        self.answer.chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]))
    }
}

impl Chunks for Streamed {
    fn begin(&self) -> Option<Value> {
        Some(self.delta(json!({ "role": "assistant", "content": "" }), None))
    }

    fn text(&self, piece: &str) -> Value {
        self.delta(json!({ "content": piece }), None)
    }

    fn end(&self, generation: &Generation) -> Vec<Value> {
        let mut chunks = vec![self.delta(json!({}), Some(finish_reason(generation.finish_reason)))];
        if self.usage {
            let mut last = self.answer.chunk(json!([]));
            last["usage"] = json!(Usage::of(generation));
            chunks.push(last);
        }
        chunks
    }
}
