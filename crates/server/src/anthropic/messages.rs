//! `/v1/messages` and `/v1/messages/count_tokens`.

use super::request::MessagesRequest;
use super::response::Answer;
use crate::answering::Answering;
use crate::asked::Asked;
use crate::error::ApiError;
use crate::events;
use crate::openai::models;
use crate::state::State;
use crate::tools::AnswerBlocks;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use runtime::engine::Engine;
use runtime::request::Request;
use serde::Serialize;
use std::sync::Arc;

pub(crate) async fn answer(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<MessagesRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(mut asked) = body?;
    models::check(&state, &asked.model)?;
    let chat = asked.take_chat()?;
    let tools = asked.take_tools(state.engine())?;
    let max_tokens = asked.max_tokens()?;
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let blocks = AnswerBlocks::new(tools.as_ref());
    let encode = move |engine: &Engine| {
        let prompt = chat.encode(engine, tools.as_ref())?;
        Asked::new(engine, prompt, tools.as_ref().map(|tools| &tools.constraint), "tools")
    };
    let Asked { prompt, constraint } = state.prepare(encode).await?;
    let prompt_tokens = prompt.len();
    let request = Request { constraint, ..asked.request(state.engine(), prompt_tokens)? };
    let stop_sequences = request.stop.clone();
    let answering = Answering::ask(&state, place, prompt, request)?;
    let mut answer = Answer { state, prompt_tokens, max_tokens, stop_sequences, blocks };
    if asked.stream.unwrap_or(false) {
        return Ok(events::response(answering, answer));
    }
    let generation = answering.end_of_one().await?;
    Ok(Json(answer.whole(&generation)).into_response())
}

#[derive(Serialize)]
pub(crate) struct Count {
    input_tokens: usize,
}

pub(crate) async fn count_tokens(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<MessagesRequest>, JsonRejection>,
) -> Result<Json<Count>, ApiError> {
    let Json(mut asked) = body?;
    models::check(&state, &asked.model)?;
    let chat = asked.take_chat()?;
    let tools = asked.take_tools(state.engine())?;
    let _place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let tokens = state.prepare(move |engine| chat.encode(engine, tools.as_ref())).await?;
    Ok(Json(Count { input_tokens: tokens.len() }))
}
