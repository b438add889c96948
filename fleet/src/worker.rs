//! The engine as Dynamo drives it.

use crate::answering::Answering;
use crate::arguments::Arguments;
use crate::load::{Load, RANK};
use crate::pages::Pages;
use crate::refusal::{busy, gone, invalid, unknown};
use crate::request::Asked;
use async_trait::async_trait;
use attention::BLOCK_N;
use dynamo_backend_common::{
    DynamoError, EngineConfig, GenerateContext, KvEventSource, LLMEngine, LLMEngineOutput, LlmRegistration,
    MetricsBindings, MetricsCtx, PreprocessedRequest,
};
use futures::stream::BoxStream;
use runtime::engine::Engine;
use runtime::engine::service::Service;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A prompt holds others up for so many tokens at a time.
const CHUNK_TOKENS_CPU: usize = 1024;
const CHUNK_TOKENS_GPU: usize = 8192;

/// A worker; without a model until it is started.
pub struct SparseWorker {
    arguments: Arc<Arguments>,
    service: Mutex<Option<Arc<Service>>>,
    places: Arc<Semaphore>,
    load: Arc<Load>,
    pages: Pages,
}

impl SparseWorker {
    pub fn new(arguments: Arguments) -> Self {
        let places = Arc::new(Semaphore::new(arguments.max_requests));
        let (service, load, pages) = (Mutex::new(None), Arc::default(), Pages::default());
        Self { arguments: arguments.into(), service, places, load, pages }
    }

    fn service(&self) -> Result<Arc<Service>, DynamoError> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sound = service.filter(|service| service.is_sound());
        sound.ok_or_else(|| gone("the engine does not run: start the worker again"))
    }
}

#[async_trait]
impl LLMEngine for SparseWorker {
    async fn start(&self, _worker_id: u64) -> Result<EngineConfig, DynamoError> {
        let (arguments, pages) = (self.arguments.clone(), self.pages.clone());
        let started = spawn_blocking(move || load(&arguments, pages)).await;
        let service = started.map_err(|_| unknown("loading the model panicked: see standard error"))??;
        let engine = service.engine();
        tracing::info!("{} on {} is loaded", engine.model_name(), engine.device_name());
        let config = EngineConfig {
            model: engine.model_name().into(),
            served_model_name: self.arguments.served_model_name.clone(),
            llm: Some(LlmRegistration {
                context_length: u32::try_from(engine.config().max_context).ok(),
                kv_cache_block_size: Some(BLOCK_N as u32),
                max_num_seqs: Some(self.arguments.max_running as u64),
                ..LlmRegistration::default()
            }),
            ..EngineConfig::default()
        };
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(service));
        Ok(config)
    }

    async fn generate(
        &self,
        request: PreprocessedRequest,
        context: GenerateContext,
    ) -> Result<BoxStream<'static, Result<LLMEngineOutput, DynamoError>>, DynamoError> {
        let (service, arguments) = (self.service()?, self.arguments.clone());
        let place = self.places.clone().try_acquire_owned().map_err(|_| busy(arguments.max_requests))?;
        // A constraint takes its time, so not here.
        let its = service.clone();
        let asked =
            spawn_blocking(move || Asked::new(its.engine(), &request, arguments.attention, arguments.goal())).await;
        let asked = asked.map_err(|_| {
            unknown("the request made this worker panic: please report what stands on standard error")
        })??;
        Ok(Answering::ask(service, self.load.clone(), place, asked, context.inner_arc()).into_stream())
    }

    async fn kv_event_sources(&self) -> Result<Vec<KvEventSource>, DynamoError> {
        let pages = self.pages.clone();
        let on_ready = move |publisher| {
            pages.tell(publisher);
            Ok(())
        };
        Ok(vec![KvEventSource::Push { on_ready: Box::new(on_ready), dp_rank: RANK }])
    }

    async fn setup_metrics(&self, _context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        let load = self.load.clone();
        let tell = move |publisher| {
            load.tell(publisher);
            Ok(())
        };
        Ok(MetricsBindings { dp_ranks: vec![RANK], on_publisher_ready: Some(Box::new(tell)) })
    }

    /// Ends what is under way, and lets the model go.
    async fn cleanup(&self) -> Result<(), DynamoError> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        spawn_blocking(move || drop(service)).await.map_err(|_| unknown("the engine panicked at its end"))
    }
}

fn load(arguments: &Arguments, pages: Pages) -> Result<Service, DynamoError> {
    let options = arguments.engine_options();
    let mut engine = Engine::load(&arguments.model, &options, &mut |_| {})
        .map_err(|error| invalid(format!("{}: {error}", arguments.model)))?;
    if arguments.chunk_tokens.is_none() {
        engine.set_chunk_tokens(if engine.on_gpu() { CHUNK_TOKENS_GPU } else { CHUNK_TOKENS_CPU });
    }
    Ok(Service::start_telling(engine, arguments.service_options(), move |event| pages.hear(event)))
}
