//! `/v1/completions`: a prompt as it stands, goes on.

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
use runtime::request::Generation;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// New tokens where a request does not say how many, as OpenAI's API has it.
const DEFAULT_TOKENS: usize = 16;

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
    if let Some(asked) = &parameters.model {
        models::check(&state, asked)?;
    }
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let encoding = state.clone();
    let encode = move |text: String| async move {
        let ids = tokio::task::spawn_blocking(move || encoding.engine().encode(&text));
        Ok::<_, ApiError>(ids.await.map_err(|_| ApiError::gone())??)
    };
    let prompt = match prompt {
        Prompt::Tokens(ids) => ids,
        Prompt::Text(text) => encode(text).await?,
        Prompt::Texts(mut texts) if texts.len() == 1 => encode(texts.remove(0)).await?,
        Prompt::Texts(_) => return Err(ApiError::invalid("prompt", "one prompt a request: send the others apart")),
    };
    let request = parameters.request(state.engine(), prompt.len(), Some(DEFAULT_TOKENS))?;
    let answering = Answering::ask(&state, place, prompt, request);
    let answer = Answer { id: id("cmpl"), created: now(), model: state.engine().model_name().into() };
    if parameters.stream {
        let usage = parameters.stream_options.include_usage;
        return Ok(stream::response(answering, Streamed { answer, usage }));
    }
    let generation = answering.end().await?;
    let mut whole = answer.part(&generation.text, Some(finish_reason(generation.finish_reason)));
    whole["usage"] = json!(Usage::of(&generation));
    Ok(Json(whole).into_response())
}

/// What is said of an answer beside its text.
struct Answer {
    id: String,
    created: u64,
    model: String,
}

impl Answer {
    fn part(&self, text: &str, finish_reason: Option<&str>) -> Value {
        let Self { id, created, model } = self;
        let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason });
        json!({ "id": id, "object": "text_completion", "created": created, "model": model, "choices": [choice] })
    }
}

struct Streamed {
    answer: Answer,
    usage: bool,
}

impl Chunks for Streamed {
    fn begin(&self) -> Option<Value> {
        None
    }

    fn text(&self, piece: &str) -> Value {
        self.answer.part(piece, None)
    }

    fn end(&self, generation: &Generation) -> Vec<Value> {
        let mut last = self.answer.part("", Some(finish_reason(generation.finish_reason)));
        if !self.usage {
            return vec![last];
        }
        let ended = last.clone();
        last["choices"] = json!([]);
        last["usage"] = json!(Usage::of(generation));
        vec![ended, last]
    }
}
