//! One request answered, once or several times, whole or as it comes, whatever the API calls its parts.

use super::api::{Answer, Api};
use super::models;
use super::parameters::Parameters;
use super::stream::Telling;
use super::usage::Usage;
use crate::answering::Answering;
use crate::asked::Asked;
use crate::error::ApiError;
use crate::events;
use crate::state::State;
use axum::Json;
use axum::response::{IntoResponse, Response};
use runtime::engine::Engine;
use runtime::request::Request;
use serde_json::json;
use std::sync::Arc;

/// Answers what `encode` makes of a request, once by each of `apis`; where `others` says so, with how likely tokens were.
pub(super) async fn answer<A: Api>(
    state: Arc<State>,
    parameters: Parameters,
    apis: Vec<A>,
    others: Option<usize>,
    encode: impl FnOnce(&Engine) -> Result<Asked, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    if let Some(asked) = &parameters.model {
        models::check(&state, asked)?;
    }
    let max_requests = state.options.max_requests;
    if apis.len() > max_requests {
        let message = format!("`n` is {}: at most {max_requests} answers are written here at a time", apis.len());
        return Err(ApiError::invalid("n", message));
    }
    let places = state.places(apis.len()).ok_or_else(|| ApiError::busy(max_requests))?;
    let Asked { prompt, constraint } = state.prepare(encode).await?;
    let requests = parameters.requests(state.engine(), prompt.len(), A::DEFAULT_TOKENS)?;
    let with = |request| Request { constraint: constraint.clone(), log_probabilities: others, ..request };
    let requests = requests.into_iter().map(with).collect();
    let answering = Answering::ask_several(&state, places, prompt, requests)?;
    let answer = Answer::new::<A>(state.engine().model_name(), parameters.streams_usage());
    if parameters.streams() {
        return Ok(events::response(answering, Telling::new(apis, answer)));
    }
    let generations = answering.end().await?;
    let choices = apis.into_iter().zip(&generations).map(|(api, generation)| api.whole(generation)).collect();
    let mut whole = answer.object(A::OBJECTS[0], choices);
    whole["usage"] = json!(Usage::of(&generations));
    Ok(Json(whole).into_response())
}
