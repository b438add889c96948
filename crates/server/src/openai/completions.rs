//! `/v1/completions`: a prompt as it stands, goes on.

use super::answer::{Api, answer};
use super::parameters::Parameters;
use super::usage::finish_reason;
use crate::error::ApiError;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use runtime::request::Generation;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct CompletionRequest {
    prompt: Prompt,
    #[serde(flatten)]
    parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
}

pub(crate) async fn complete(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<CompletionRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(CompletionRequest { prompt, parameters }) = body?;
    let text = match prompt {
        Prompt::Tokens(ids) => return answer::<Completion>(state, parameters, move |_| Ok(ids)).await,
        Prompt::Text(text) => text,
        Prompt::Texts(mut texts) if texts.len() == 1 => texts.remove(0),
        Prompt::Texts(_) => return Err(ApiError::invalid("prompt", "one prompt a request: send the others apart")),
    };
    answer::<Completion>(state, parameters, move |engine| engine.encode(&text)).await
}

struct Completion;

fn choice(text: &str, finish_reason: Option<&str>) -> Value {
    json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason })
}

impl Api for Completion {
    const ID: &str = "cmpl";
    const OBJECTS: [&str; 2] = ["text_completion"; 2];
    /// As OpenAI's API has it.
    const DEFAULT_TOKENS: Option<usize> = Some(16);

    fn whole(generation: &Generation) -> Value {
        choice(&generation.text, Some(finish_reason(generation.finish_reason)))
    }

    fn begin() -> Option<Value> {
        None
    }

    fn text(piece: &str) -> Value {
        choice(piece, None)
    }

    fn end(finish_reason: &str) -> Value {
        choice("", Some(finish_reason))
    }
}
