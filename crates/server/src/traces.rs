//! Spans of OpenTelemetry: a request as part of its caller's trace, its answers, and what each of them waits for. Of sizes and times, never
//! of texts.
//!
//! They go to the tracer that the program installed as the global one; without, nowhere. Names and attributes are those of
//! OpenTelemetry's conventions for HTTP servers and for generative models, where these have one.

use crate::error::ApiError;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use opentelemetry::global::{BoxedTracer, get_text_map_propagator, tracer};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use runtime::request::{FinishReason, Generation};

fn ours() -> BoxedTracer {
    tracer("sparse-accelerate")
}

/// The span of a request, which its `traceparent` puts under one of the caller's.
pub(crate) fn of_request(request: &Request, id: &str) -> Context {
    let caller = get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(request.headers())));
    let method = request.method().to_string();
    // The route, of which there are few, and no path that a client makes up.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    let mut attributes = vec![KeyValue::new("http.request.method", method), KeyValue::new("request.id", id.to_owned())];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    let span = ours().span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let span = span.start_with_context(&ours(), &caller);
    caller.with_span(span)
}

/// How a request was answered; the answer itself may go on.
pub(crate) fn responds(request: &Context, status: StatusCode) {
    let span = request.span();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}

/// The spans of one answer. What it is at ends where the next begins; dropped, all end.
pub(crate) struct AnswerTrace {
    answer: Context,
    stage: Context,
}

impl AnswerTrace {
    /// An answer to the request of this task, which waits from now on.
    pub fn waits() -> Self {
        let request = Context::current();
        let answer = request.with_span(ours().start_with_context("answer", &request));
        let stage = stage(&answer, "queue");
        Self { answer, stage }
    }

    /// Its prompt is read.
    pub fn reads(&mut self, cached_tokens: usize) {
        self.goes_to("prefill");
        self.stage.span().set_attribute(KeyValue::new("cached_tokens", cached_tokens as i64));
    }

    /// Its first text is there.
    pub fn writes(&mut self) {
        self.goes_to("decode");
    }

    fn goes_to(&mut self, name: &'static str) {
        self.stage.span().end();
        self.stage = stage(&self.answer, name);
    }

    /// Its end.
    pub fn ends(&self, ended: Result<&Generation, &ApiError>) {
        self.stage.span().end();
        let span = self.answer.span();
        match ended {
            Ok(Generation { stats, finish_reason, .. }) => {
                let reason = match finish_reason {
                    FinishReason::End | FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                    FinishReason::Cancelled => "cancelled",
                };
                let reasons = Value::Array(Array::String(vec![reason.into()]));
                span.set_attributes([
                    KeyValue::new("gen_ai.usage.input_tokens", stats.prompt_tokens as i64),
                    KeyValue::new("gen_ai.usage.output_tokens", stats.generated_tokens as i64),
                    KeyValue::new("gen_ai.response.finish_reasons", reasons),
                    KeyValue::new("sparse_attention.density", stats.density),
                ]);
                span.set_attributes(stats.recall.map(|recall| KeyValue::new("sparse_attention.recall", recall)));
            }
            Err(error) => {
                span.set_attribute(KeyValue::new("error.type", error.kind()));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}

fn stage(answer: &Context, name: &'static str) -> Context {
    answer.with_span(ours().start_with_context(name, answer))
}
