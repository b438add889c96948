//! What all requests share.

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::tls::Tls;
use runtime::engine::Engine;
use runtime::engine::service::Service;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What requests must carry as `Authorization: Bearer KEY` or `x-api-key: KEY`; nothing lets everybody in who reaches the address.
    pub api_key: Option<String>,
    /// Requests that are answered or wait at a time, each of several answers counted; more are told to come again (429).
    pub max_requests: usize,
    /// Bytes of the body of a request.
    pub max_body_bytes: usize,
    /// How long a request may wait and be answered; then it ends with an error (504). Without, until its client goes away.
    pub deadline: Option<Duration>,
    /// With what to encrypt connections; without, they are plain.
    pub tls: Option<Tls>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { api_key: None, max_requests: 64, max_body_bytes: 16 << 20, deadline: None, tls: None }
    }
}

/// The engine, who may ask it, and how many.
pub(crate) struct State {
    pub service: Service,
    pub options: ServerOptions,
    pub metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    /// Seconds since 1970.
    pub started: u64,
}

impl State {
    pub fn new(service: Service, options: ServerOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.max_requests));
        Self { service, places, options, metrics: Arc::new(Metrics::new()), started: now() }
    }

    pub fn engine(&self) -> &Engine {
        self.service.engine()
    }

    /// A place for a request, while it lives.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places(1)
    }

    /// Places for so many answers, while they live.
    pub fn places(&self, answers: usize) -> Option<OwnedSemaphorePermit> {
        let answers = u32::try_from(answers).ok()?;
        self.places.clone().try_acquire_many_owned(answers).ok()
    }

    /// What `work` makes of a request: tokens of a long text take their time, as does a constraint, so not here. Whoever asks has a
    /// [place](Self::place).
    pub async fn prepare<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        let prepared = tokio::task::spawn_blocking(move || work(state.engine())).await;
        prepared.map_err(|_| ApiError::panicked())?.map_err(Into::into)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
