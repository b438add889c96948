//! `/v1/chat/completions`.

use super::answer::{Api, answer};
use super::parameters::Parameters;
use super::usage::finish_reason;
use crate::error::ApiError;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
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
    let messages = messages.into_iter().map(ChatMessage::into_message).collect::<Result<Vec<_>, _>>()?;
    answer::<Chat>(state, parameters, move |engine| engine.encode_chat(&messages)).await
}

struct Chat;

fn delta(delta: Value, finish_reason: Option<&str>) -> Value {
    json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason })
}

impl Api for Chat {
    const ID: &str = "chatcmpl";
    const OBJECTS: [&str; 2] = ["chat.completion", "chat.completion.chunk"];
    const DEFAULT_TOKENS: Option<usize> = None;

    fn whole(generation: &Generation) -> Value {
        json!({
            "index": 0,
            "message": { "role": "assistant", "content": generation.text, "refusal": null },
            "logprobs": null,
            "finish_reason": finish_reason(generation.finish_reason),
        })
    }

    fn begin() -> Option<Value> {
        Some(delta(json!({ "role": "assistant", "content": "" }), None))
    }

    fn text(piece: &str) -> Value {
        delta(json!({ "content": piece }), None)
    }

    fn end(finish_reason: &str) -> Value {
        delta(json!({}), Some(finish_reason))
    }
}
