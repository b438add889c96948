//! `/v1/responses`.

mod request;
mod response;
mod stream;

use crate::answering::Answering;
use crate::error::ApiError;
use crate::events;
use crate::openai::models;
use crate::state::State;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use request::ResponsesRequest;
use response::Answer;
use std::sync::Arc;

pub(crate) async fn answer(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<ResponsesRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(mut asked) = body?;
    if let Some(model) = &asked.model {
        models::check(&state, model)?;
    }
    let messages = asked.take_messages()?;
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let prompt = state.prepare(move |engine| engine.encode_chat(&messages)).await?;
    let request = asked.request(state.engine(), prompt.len())?;
    let answering = Answering::ask(&state, place, prompt, request);
    let answer = Answer::new(state.engine().model_name(), &asked);
    if asked.stream {
        return Ok(events::response(answering, stream::Telling::of(answer)));
    }
    Ok(Json(answer.whole(&answering.end_of_one().await?)).into_response())
}
