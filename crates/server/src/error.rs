//! What a client is told when it gets no answer, in the bodies of OpenAI's API.

use axum::Json;
use axum::extract::Request;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use runtime::constraint::ConstraintError;
use runtime::engine::EngineError;
use serde::Serialize;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// An error, and the status it goes with.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Body,
    /// Whether metrics have it already.
    counted: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Body {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field of the request that is wrong.
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: Body { message: message.into(), kind, param: None, code: None }, counted: false }
    }

    /// A request that can never be answered.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        Self { body: Body { param: Some(param), ..error.body }, ..error }
    }

    /// The same, of this field of the request.
    pub fn about(self, param: &'static str) -> Self {
        Self { body: Body { param: Some(param), ..self.body }, ..self }
    }

    /// The same, by this name.
    pub fn coded(self, code: &'static str) -> Self {
        Self { body: Body { code: Some(code), ..self.body }, ..self }
    }

    /// A model that is not this one.
    pub fn no_such_model(asked: &str, served: &str) -> Self {
        let message = format!("the model `{asked}` is not served here: ask for `{served}`");
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { body: Body { param: Some("model"), code: Some("model_not_found"), ..error.body }, ..error }
    }

    /// No key, or another.
    pub fn wrong_key() -> Self {
        let message = "the API key is missing or wrong: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        let error = Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
        Self { body: Body { code: Some("invalid_api_key"), ..error.body }, ..error }
    }

    /// All places are taken.
    pub fn busy(places: usize) -> Self {
        let message = format!("{places} requests are answered or wait already: come again a little later");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { body: Body { code: Some("rate_limit_exceeded"), ..error.body }, ..error }
    }

    /// A body of more than so many bytes.
    pub fn too_large(limit: usize) -> Self {
        let message =
            format!("the body has more than {limit} bytes: send less, or start the server with a larger `--max-body`");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    /// A fault of ours in this request.
    pub fn panicked() -> Self {
        let message = "the server panicked at this request: please report what stands on its standard error";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The service is gone.
    pub fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the engine ended before the answer did")
    }

    /// Not answered within the time that there is for it.
    pub fn too_late(deadline: Duration) -> Self {
        let seconds = deadline.as_secs_f64();
        let message = format!(
            "not answered within {seconds} s, which is all the time that this server gives a request (--deadline): ask for fewer \
             tokens, stream, or come when fewer others ask"
        );
        let error = Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message);
        Self { body: Body { code: Some("deadline_exceeded"), ..error.body }, ..error }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn message(&self) -> &str {
        &self.body.message
    }

    /// Of all kinds the narrowest that it has a name for.
    pub fn kind(&self) -> &'static str {
        self.body.code.unwrap_or(self.body.kind)
    }

    pub fn is_counted(&self) -> bool {
        self.counted
    }

    pub fn counted(self) -> Self {
        Self { counted: true, ..self }
    }

    /// As a line of an event stream has it.
    pub fn as_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.body })
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Context { .. } => {
                let error = Self::invalid("messages", message);
                Self { body: Body { code: Some("context_length_exceeded"), ..error.body }, ..error }
            }
            EngineError::Constraint(ConstraintError::Vocabulary(_)) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            }
            EngineError::EmptyPrompt
            | EngineError::Token { .. }
            | EngineError::Tokenizer(_)
            | EngineError::Template(_)
            | EngineError::NoTemplate
            | EngineError::Sampling(_)
            | EngineError::Constraint(_)
            | EngineError::Attention(_)
            | EngineError::ReceiptOnGpu
            | EngineError::TimeBudgetNeedsCalibration
            | EngineError::TimeBudgetUnknown { .. }
            | EngineError::TimeBudget { .. }
            | EngineError::Budget { .. } => Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message),
            EngineError::Memory { .. } | EngineError::Broken => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid_request_error", rejection.body_text())
    }
}

/// Escapes that are no UTF-8.
impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "invalid_request_error", rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.as_json())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // For those outside, who count it or say it otherwise.
        response.extensions_mut().insert(self);
        response
    }
}

/// A panic of a handler is an answer, too: without one, its client would see no more than an end of the connection.
pub(crate) async fn catch_panic(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| ApiError::panicked().into_response())
}

pub(crate) async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!(
        "there is no {}: see /v1/models, /v1/chat/completions, /v1/responses, /v1/completions and /v1/messages",
        uri.path()
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

pub(crate) async fn no_such_method() -> ApiError {
    let message = "this path is not asked that way: answers by POST, models by GET";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;

    #[tokio::test]
    async fn who_asked_what_panics_is_told() {
        async fn panics() {
            panic!("a handler");
        }
        let app = Router::new().route("/", get(panics)).layer(axum::middleware::from_fn(catch_panic));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = tokio::spawn(async { axum::serve(listener, app).await });
        let ask = || {
            let mut response = ureq::get(url).config().http_status_as_error(false).build().call().expect("an answer");
            (response.status().as_u16(), response.body_mut().read_json::<serde_json::Value>().unwrap())
        };
        let (status, body) = tokio::task::spawn_blocking(ask).await.unwrap();
        assert_eq!((status, &body["error"]["type"]), (500, &"server_error".into()));
        served.abort();
    }

    #[test]
    fn a_panic_of_the_engine_is_a_fault_of_the_server() {
        for (error, status) in
            [(EngineError::Panicked, 500), (EngineError::Broken, 503), (EngineError::EmptyPrompt, 400)]
        {
            assert_eq!(ApiError::from(error).status.as_u16(), status);
        }
    }
}
