//! Whether it runs, and whether it answers: what those ask who start it again, and those who send it requests.

use crate::state::State;
use axum::extract::State as Shared;
use axum::http::StatusCode;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_engine_is_not_ready() {
        assert_eq!([said(true).0, said(false).0], [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    }
}
