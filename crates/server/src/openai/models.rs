//! `/v1/models`: the one that is served.

use crate::error::ApiError;
use crate::state::State;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// Tokens of prompt and answer together.
    max_context: usize,
}

#[derive(Serialize)]
pub(crate) struct Models {
    object: &'static str,
    data: [Model; 1],
}

fn served(state: &State) -> Model {
    Model {
        id: state.engine().model_name().into(),
        object: "model",
        created: state.started,
        owned_by: "sparse-accelerate",
        max_context: state.engine().config().max_context,
    }
}

pub(crate) async fn list(Shared(state): Shared<Arc<State>>) -> Json<Models> {
    Json(Models { object: "list", data: [served(&state)] })
}

pub(crate) async fn one(
    Shared(state): Shared<Arc<State>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, ApiError> {
    let Path(id) = id?;
    check(&state, &id)?;
    Ok(Json(served(&state)))
}

/// Refuses other models.
pub(crate) fn check(state: &State, asked: &str) -> Result<(), ApiError> {
    let name = state.engine().model_name();
    if asked == name { Ok(()) } else { Err(ApiError::no_such_model(asked, name)) }
}
