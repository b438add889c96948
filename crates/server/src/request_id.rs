//! The id of a request, in headers and logs; what is logged of every request.

use crate::error::ApiError;
use crate::random;
use crate::state::State;
use crate::traces;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::context::FutureExt;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

/// What clients send, and get back.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 128;

/// As a handler finds it among the request's extensions.
#[derive(Clone)]
pub(crate) struct RequestId(pub HeaderValue);

impl RequestId {
    /// The client's, where it can stand in a header and a line of a log; else a new one.
    fn of(request: &Request) -> Self {
        let fits = |sent: &&HeaderValue| {
            !sent.is_empty() && sent.len() <= LONGEST && sent.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let new = || {
            let id = random::name("req_");
            HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("req_unnamed"))
        };
        Self(request.headers().get(HEADER).filter(fits).cloned().unwrap_or_else(new))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Names every request, begins its trace, and logs how it went: method, path, status and time, nothing of what was sent.
pub(crate) async fn name(Shared(state): Shared<Arc<State>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id = id.as_str(), %method, path);
    request.extensions_mut().insert(id.clone());
    let began = Instant::now();
    let trace = traces::of_request(&request, id.as_str());
    let mut response = next.run(request).instrument(span.clone()).with_context(trace.clone()).await;
    traces::responds(&trace, response.status());
    let _within = span.enter();
    if let Some(error) = response.extensions().get::<ApiError>().filter(|error| !error.is_counted()) {
        state.metrics.failed(error);
    }
    // Of a stream, only its beginning: how it goes on is logged when the answer ends.
    let ms = began.elapsed().as_secs_f64() * 1e3;
    tracing::info!(status = response.status().as_u16(), ms, "responded");
    response.headers_mut().insert(HEADER, id.0);
    response
}
