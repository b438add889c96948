//! Who may ask.

use crate::error::ApiError;
use crate::state::State;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Lets requests with the key through, everybody where there is none. However much of a key is right, to refuse it takes as long.
pub(crate) async fn check(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(key) = &state.options.api_key {
        let headers = request.headers();
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // As Anthropic's clients send it.
        let sent = bearer.or(headers.get("x-api-key").map(HeaderValue::as_bytes)).unwrap_or_default();
        if !bool::from(key.as_bytes().ct_eq(sent)) {
            return Err(ApiError::wrong_key());
        }
    }
    Ok(next.run(request).await)
}
