//! Errors in the bodies of Anthropic's API.

use crate::error::ApiError;
use crate::request_id::RequestId;
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What its clients know the id of a request by.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The first whose streams have events with names. Later ones take away parameters, and leave the rest as it was.
const FIRST_SPOKEN: &str = "2023-06-01";
/// By which its clients know that they have to send a whole chat, as they then do.
pub(super) const NO_THREADS: &str = "thread_unsupported_request";

/// Says errors of whatever comes behind it as Anthropic does.
pub(crate) async fn in_its_form(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let version = request.headers().get(&VERSION).cloned();
    let mut response = match version {
        // What is no request in any version gets told that.
        Some(version) if request.method() == Method::POST && !is_spoken(version.as_bytes()) => {
            let message =
                format!("this version of the API is not spoken here: send `{VERSION}: {FIRST_SPOKEN}` or later");
            ApiError::invalid("anthropic-version", message).into_response()
        }
        _ => next.run(request).await,
    };
    if let Some(error) = response.extensions().get::<ApiError>().cloned() {
        let mut body = as_json(&error);
        body["request_id"] = json!(id.as_ref().map(RequestId::as_str));
        let said = (status(&error), Json(body)).into_response();
        let retry_after = response.headers_mut().remove(header::RETRY_AFTER);
        response = said;
        response.headers_mut().extend(retry_after.map(|seconds| (header::RETRY_AFTER, seconds)));
        // Those outside count it.
        response.extensions_mut().insert(error);
    }
    response.headers_mut().extend(id.map(|id| (REQUEST_ID, id.0)));
    response
}

/// Versions are dates, which are in order as they are written.
fn is_spoken(version: &[u8]) -> bool {
    let is_date = version.len() == FIRST_SPOKEN.len() && version.iter().all(|c| c.is_ascii_digit() || *c == b'-');
    is_date && version >= FIRST_SPOKEN.as_bytes()
}

/// As an event of a stream has it, too.
pub(super) fn as_json(error: &ApiError) -> Value {
    let mut body = json!({ "type": "error", "error": { "type": kind(status(error)), "message": error.message() } });
    if error.kind() == NO_THREADS {
        body["error"]["details"] = json!({ "error_code": NO_THREADS });
    }
    body
}

/// A body that is no request is a wrong request, whatever is wrong with it.
fn status(error: &ApiError) -> StatusCode {
    match error.status() {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => StatusCode::BAD_REQUEST,
        other => other,
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    }
}
