//! Whether it runs, whether it answers, and how: what those ask who start it again, send it requests, or watch it.

use crate::error::ApiError;
use crate::state::State;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The process answers at all.
pub(crate) async fn live() -> &'static str {
    "live"
}

/// The engine answers; where it does not, only a new start helps.
pub(crate) async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, &'static str) {
    said(state.service.is_sound())
}

fn said(sound: bool) -> (StatusCode, &'static str) {
    match sound {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the engine is broken: start the server again"),
    }
}

/// Counts and times.
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> Result<Response, ApiError> {
    state.metrics.pages(state.service.pages());
    let text = state.metrics.text().map_err(|_| ApiError::panicked())?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_engine_is_not_ready() {
        assert_eq!([said(true).0, said(false).0], [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    }
}
