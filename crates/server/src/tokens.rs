//! `/tokenize` and `/detokenize`: what the model reads of a text.

use crate::error::ApiError;
use crate::openai::models;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use runtime::engine::EngineError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct Tokenize {
    model: Option<String>,
    #[serde(alias = "content")]
    prompt: String,
}

#[derive(Serialize)]
pub(crate) struct Tokens {
    tokens: Vec<u32>,
    count: usize,
    /// Tokens of prompt and answer together that the model can hold.
    max_model_len: usize,
}

/// Tokens of a text, as `/v1/completions` reads it.
pub(crate) async fn tokenize(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<Tokenize>, JsonRejection>,
) -> Result<Json<Tokens>, ApiError> {
    let Json(Tokenize { model, prompt }) = body?;
    model.map_or(Ok(()), |asked| models::check(&state, &asked))?;
    let _place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let max_model_len = state.engine().config().max_context;
    let tokens = state.prepare(move |engine| engine.encode(&prompt)).await?;
    Ok(Json(Tokens { count: tokens.len(), tokens, max_model_len }))
}

#[derive(Deserialize)]
pub(crate) struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

#[derive(Serialize)]
pub(crate) struct Text {
    prompt: String,
}

/// Text of tokens; control tokens have none.
pub(crate) async fn detokenize(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<Detokenize>, JsonRejection>,
) -> Result<Json<Text>, ApiError> {
    let Json(Detokenize { model, tokens }) = body?;
    model.map_or(Ok(()), |asked| models::check(&state, &asked))?;
    let vocab_size = state.engine().config().vocab_size;
    if let Some(&id) = tokens.iter().find(|id| **id as usize >= vocab_size) {
        return Err(EngineError::Token { id, vocab_size }.into());
    }
    Ok(Json(Text { prompt: state.engine().decode(&tokens) }))
}
