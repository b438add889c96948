//! Bodies that say themselves that they are too large. Others are cut off by [`axum::extract::DefaultBodyLimit`] as they are read.

use crate::error::ApiError;
use crate::state::State;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use std::sync::Arc;

/// Refuses them once they are read and thrown away, where that takes no more than as much again as is allowed: who is still sending
/// when the connection ends would see that alone, and never why. Who waits to be told to send hears of it at once.
pub(crate) async fn check(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let limit = state.options.max_body_bytes;
    let length = request.headers().get(header::CONTENT_LENGTH).map(HeaderValue::to_str);
    let length = length.and_then(|text| text.ok()?.parse::<usize>().ok()).unwrap_or(0);
    if length <= limit {
        return Ok(next.run(request).await);
    }
    if request.headers().contains_key(header::EXPECT) {
        return Err(ApiError::too_large(limit));
    }
    let mut parts = request.into_body().into_data_stream();
    let mut read = 0;
    while let Some(Ok(part)) = parts.next().await {
        read += part.len();
        if read / 2 > limit {
            break;
        }
    }
    Err(ApiError::too_large(limit))
}
