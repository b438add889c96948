//! A model over HTTP, as the tools of people speak to it: OpenAI's chat completions, responses, completions and models, and Anthropic's
//! messages; and a page to chat on.
//!
//! Requests run by [`runtime::engine::service`], several at once. What a client does not wait for is cancelled; what cannot be done is
//! said in the bodies that OpenAI's clients read.

mod answering;
mod anthropic;
mod asked;
mod body_limit;
mod content;
mod error;
mod events;
mod goal;
mod health;
mod key;
mod metrics;
mod observed;
mod openai;
mod openapi;
mod page;
mod random;
mod request_id;
mod sampling;
mod sparse_attention;
mod state;
mod tls;
mod tokens;
mod tools;
mod traces;

pub use state::ServerOptions;
pub use tls::{Tls, TlsError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use runtime::engine::service::Service;
use state::State;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Answers requests until `shutdown` is ready; those that came before are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let tls = options.tls.clone();
    let router = router(Arc::new(State::new(service, options)));
    match tls {
        None => axum::serve(listener, router).with_graceful_shutdown(shutdown).await,
        Some(tls) => axum::serve(tls.over(listener), router).with_graceful_shutdown(shutdown).await,
    }
}

fn router(state: Arc<State>) -> Router {
    let key = || axum::middleware::from_fn_with_state(state.clone(), key::check);
    let body_limit = || axum::middleware::from_fn_with_state(state.clone(), body_limit::check);
    let api = Router::new()
        .route("/v1/chat/completions", post(openai::chat::complete))
        .route("/v1/completions", post(openai::completions::complete))
        .route("/v1/responses", post(openai::responses::answer))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::one))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/metrics", get(health::metrics))
        .layer(body_limit())
        .layer(key());
    let anthropic = Router::new()
        .route("/v1/messages", post(anthropic::messages::answer))
        .route("/v1/messages/count_tokens", post(anthropic::messages::count_tokens))
        .method_not_allowed_fallback(error::no_such_method)
        .layer(body_limit())
        .layer(key())
        .layer(axum::middleware::from_fn(anthropic::error::in_its_form));
    Router::new()
        .merge(api)
        .merge(anthropic)
        .route("/", get(page::page))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/openapi.json", get(openapi::document))
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(state.options.max_body_bytes))
        .layer(axum::middleware::from_fn(error::catch_panic))
        .layer(axum::middleware::from_fn_with_state(state.clone(), request_id::name))
        .with_state(state)
}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
