//! Spans to whoever collects them, by OpenTelemetry's protocol over HTTP (OTLP).

use anyhow::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use ureq::Agent;

/// Where OpenTelemetry's own variables name a collector.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const NAME_VARIABLE: &str = "OTEL_SERVICE_NAME";
/// A collector that takes longer takes nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Sends spans from its making on; dropped, it sends the rest.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// To the collector at `endpoint`, else to the one that the environment names, if it does. Headers, share of requests and further
    /// attributes are those of OpenTelemetry's variables.
    pub fn begin(endpoint: Option<&str>) -> anyhow::Result<Option<Self>> {
        if endpoint.is_none() && VARIABLES.iter().all(|name| std::env::var_os(name).is_none()) {
            return Ok(None);
        }
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(LONGEST_WAIT)).build();
        let mut exporter = SpanExporter::builder().with_http().with_http_client(Client(agent.into()));
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        let exporter = exporter.build().context("cannot send spans: give a URL like http://127.0.0.1:4318")?;
        let mut resource = Resource::builder();
        if std::env::var_os(NAME_VARIABLE).is_none() {
            resource = resource.with_service_name("sparse-accelerate");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        let provider = provider.build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(provider)))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // What a collector did not take was logged.
        let _ = self.0.shutdown_with_timeout(LONGEST_WAIT);
    }
}

/// The client waits, in the thread that sends.
#[derive(Debug)]
struct Client(Agent);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let sent = self.0.run(Request::from_parts(parts, &body[..])).map_err(HttpError::from);
        let answered = sent.and_then(|response| {
            let (parts, mut body) = response.into_parts();
            Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
        });
        match &answered {
            Err(error) => tracing::warn!(%error, "no collector took the spans"),
            Ok(response) if !response.status().is_success() => {
                tracing::warn!(status = response.status().as_u16(), "the collector did not take the spans");
            }
            Ok(_) => {}
        }
        answered
    }
}
