//! One request answered, whole or as it comes, whatever the API calls its parts.

use super::api::{Answer, Api};
use super::models;
use super::parameters::Parameters;
use super::stream::Telling;
use super::usage::Usage;
use crate::answering::Answering;
use crate::error::ApiError;
use crate::events;
use crate::state::State;
use axum::Json;
use axum::response::{IntoResponse, Response};
use runtime::constraint::{CompiledConstraint, Constraint};
use runtime::engine::Engine;
use runtime::request::Request;
use serde_json::json;
use std::sync::Arc;

/// A request, in tokens.
pub(super) struct Asked {
    prompt: Vec<u32>,
    constraint: Option<CompiledConstraint>,
}

impl Asked {
    /// `param` is the field that the constraint comes from.
    pub fn new(
        engine: &Engine,
        prompt: Vec<u32>,
        constraint: Option<&Constraint>,
        param: &'static str,
    ) -> Result<Self, ApiError> {
        let compile = |constraint| engine.constrain(constraint).map_err(|error| ApiError::from(error).about(param));
        Ok(Self { prompt, constraint: constraint.map(compile).transpose()? })
    }
}

/// Answers what `encode` makes of a request.
pub(super) async fn answer<A: Api>(
    state: Arc<State>,
    parameters: Parameters,
    api: A,
    encode: impl FnOnce(&Engine) -> Result<Asked, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    if let Some(asked) = &parameters.model {
        models::check(&state, asked)?;
    }
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let Asked { prompt, constraint } = state.prepare(encode).await?;
    let request = parameters.request(state.engine(), prompt.len(), A::DEFAULT_TOKENS)?;
    let request = Request { constraint, ..request };
    let answering = Answering::ask(&state, place, prompt, request);
    let answer = Answer::new::<A>(state.engine().model_name(), parameters.stream_options.include_usage);
    if parameters.stream {
        return Ok(events::response(answering, Telling { api, answer }));
    }
    let generation = answering.end().await?;
    let mut whole = answer.object(A::OBJECTS[0], Some(api.whole(&generation)));
    whole["usage"] = json!(Usage::of(&generation));
    Ok(Json(whole).into_response())
}
