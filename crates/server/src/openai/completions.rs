//! `/v1/completions`: a prompt as it stands, goes on.

use super::answer::answer;
use super::api::Api;
use super::logprobs::Logprobs;
use super::parameters::Parameters;
use super::response_format;
use super::usage::finish_reason;
use crate::answering::Piece;
use crate::asked::Asked;
use crate::error::ApiError;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use runtime::log_probabilities::SaidToken;
use runtime::request::{FinishReason, Generation};
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
    if let Prompt::Texts(texts) = &prompt
        && texts.len() != 1
    {
        return Err(ApiError::invalid("prompt", "one prompt a request: send the others apart"));
    }
    let format = parameters.response_format.as_ref().map(response_format::constraint).transpose()?.flatten();
    let others = parameters.logprobs.of_completion()?;
    let completion = |index| {
        let logprobs = Logprobs { state: state.clone(), asked: others.is_some() };
        Completion { index, logprobs }
    };
    let completions = (0..parameters.answers()?).map(completion).collect();
    answer(state, parameters, completions, others, move |engine| {
        let tokens = match prompt {
            Prompt::Tokens(ids) => ids,
            Prompt::Text(text) => engine.encode(&text)?,
            Prompt::Texts(texts) => engine.encode(&texts.concat())?,
        };
        Asked::new(engine, tokens, format.as_ref(), "response_format")
    })
    .await
}

/// Answers as completions.
struct Completion {
    index: usize,
    logprobs: Logprobs,
}

impl Completion {
    fn choice(&self, text: &str, tokens: &[SaidToken], finish_reason: Option<&str>) -> Value {
        let logprobs = self.logprobs.of_completion(tokens);
        json!({ "index": self.index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason })
    }
}

impl Api for Completion {
    const ID: &str = "cmpl";
    const OBJECTS: [&str; 2] = ["text_completion"; 2];
    /// As OpenAI's API has it.
    const DEFAULT_TOKENS: Option<usize> = Some(16);

    fn whole(self, generation: &Generation) -> Value {
        let finish_reason = finish_reason(generation.finish_reason);
        self.choice(&generation.text, &generation.said_tokens, Some(finish_reason))
    }

    fn begin(&mut self) -> Option<Value> {
        None
    }

    fn text(&mut self, piece: &Piece) -> Vec<Value> {
        vec![self.choice(&piece.text, &piece.tokens, None)]
    }

    fn end(&mut self, finish: FinishReason) -> Vec<Value> {
        vec![self.choice("", &[], Some(finish_reason(finish)))]
    }
}
