//! `/v1/responses`.

mod input;
mod request;
mod response;
mod stream;

use crate::answering::Answering;
use crate::asked::Asked;
use crate::error::ApiError;
use crate::events;
use crate::openai::models;
use crate::openai::tools::FunctionFields;
use crate::state::State;
use crate::tools::AnswerBlocks;
use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use request::ResponsesRequest;
use response::Answer;
use runtime::engine::Engine;
use runtime::request::Request;
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
    let tools = asked.tools.read(state.engine(), FunctionFields::Flat)?;
    let blocks = AnswerBlocks::new(tools.as_ref());
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let encode = move |engine: &Engine| {
        let (tools, constraint) = tools.map(|tools| (tools.tools, tools.constraint)).unzip();
        let prompt = engine.encode_chat_with_tools(&messages, &tools.unwrap_or_default(), "")?;
        Asked::new(engine, prompt, constraint.as_ref(), "tools")
    };
    let Asked { prompt, constraint } = state.prepare(encode).await?;
    let request = Request { constraint, ..asked.request(state.engine(), prompt.len())? };
    let answering = Answering::ask(&state, place, prompt, request)?;
    let mut answer = Answer::new(state.engine().model_name(), &asked, blocks);
    if asked.stream.unwrap_or(false) {
        return Ok(events::response(answering, stream::Telling::of(answer)));
    }
    let generation = answering.end_of_one().await?;
    answer.blocks.read(&generation.text);
    Ok(Json(answer.whole(&generation)).into_response())
}
