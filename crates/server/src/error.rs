//! What a client is told when it gets no answer, in the bodies of OpenAI's API.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use runtime::constraint::ConstraintError;
use runtime::engine::EngineError;
use serde::Serialize;

/// An error, and the status it goes with.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
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
        Self { status, body: Body { message: message.into(), kind, param: None, code: None } }
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

    /// A model that is not this one.
    pub fn no_such_model(asked: &str, served: &str) -> Self {
        let message = format!("the model `{asked}` is not served here: ask for `{served}`");
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { body: Body { param: Some("model"), code: Some("model_not_found"), ..error.body }, ..error }
    }

    /// No key, or another.
    pub fn wrong_key() -> Self {
        let message = "the API key is missing or wrong: send it as `Authorization: Bearer KEY`";
        let error = Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
        Self { body: Body { code: Some("invalid_api_key"), ..error.body }, ..error }
    }

    /// All places are taken.
    pub fn busy(places: usize) -> Self {
        let message = format!("{places} requests are answered or wait already: come again a little later");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { body: Body { code: Some("rate_limit_exceeded"), ..error.body }, ..error }
    }

    /// The service is gone.
    pub fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the engine ended before the answer did")
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
            EngineError::Memory { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid_request_error", rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.as_json())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!("there is no {}: see /v1/models, /v1/chat/completions and /v1/completions", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

pub(crate) async fn no_such_method() -> ApiError {
    let message = "this path is not asked that way: completions by POST, models by GET";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}
