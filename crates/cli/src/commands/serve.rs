//! A model over HTTP.

mod traces;

use crate::arguments::config::KEY_VARIABLE;
use crate::arguments::{LogFormat, Serve};
use crate::{note, progress};
use anyhow::{Context, ensure};
use runtime::engine::service::{Service, ServiceOptions};
use server::{ServerOptions, Tls, serve};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use traces::Traces;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::LevelFilter;

/// A prompt holds others up for so many tokens at a time.
const CHUNK_TOKENS_CPU: usize = 1024;
const CHUNK_TOKENS_GPU: usize = 8192;

pub fn run(arguments: Serve) -> anyhow::Result<()> {
    let Serve { model, listen, api_key_file, max_running, max_requests, max_kept_tokens, .. } = arguments;
    let Serve { max_host_tokens, apart_on_gpu, max_body, deadline, log, otlp_endpoint, tls_cert, tls_key, .. } =
        arguments;
    let _written_at_the_end = log.map(begin_log);
    let _sent_at_the_end = Traces::begin(otlp_endpoint.as_deref())?;
    let options = ServerOptions {
        api_key: api_key(api_key_file.as_deref())?,
        max_requests,
        max_body_bytes: usize::try_from(max_body).unwrap_or(usize::MAX),
        deadline: deadline.map(|seconds| Duration::from_secs(seconds as u64)),
        tls: tls_cert.zip(tls_key).map(|(certificates, key)| Tls::from_files(&certificates, &key)).transpose()?,
    };
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start threads for connections")?;
    // The address first: a model takes its time.
    let listener = runtime.block_on(TcpListener::bind(listen));
    let listener = listener.with_context(|| format!("cannot listen at {listen}: choose another with --listen"))?;
    let mut engine = progress::load(&model)?;
    if model.chunk_tokens.is_none() {
        engine.set_chunk_tokens(if engine.on_gpu() { CHUNK_TOKENS_GPU } else { CHUNK_TOKENS_CPU });
    }
    let name = engine.model_name().to_owned();
    let device = engine.device_name().to_owned();
    let service =
        Service::start(engine, ServiceOptions { max_running, max_kept_tokens, max_host_tokens, apart_on_gpu });
    runtime.block_on(async {
        let at = listener.local_addr().context("cannot tell the address")?;
        let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let shutdown = async move {
            let wait = async |signal: &mut std::io::Result<tokio::signal::unix::Signal>| match signal {
                Ok(signal) => drop(signal.recv().await),
                Err(_) => std::future::pending().await,
            };
            tokio::select! {
                () = wait(&mut interrupt) => {}
                () = wait(&mut terminate) => {}
            }
            note("Ending once what is under way is answered.");
            tokio::spawn(async move {
                tokio::select! {
                    () = wait(&mut interrupt) => {}
                    () = wait(&mut terminate) => {}
                }
                std::process::exit(130);
            });
        };
        note(&format!("{name} on {device} answers at {scheme}://{at}/v1"));
        serve(listener, service, options, shutdown).await.context("cannot go on listening")
    })
}

/// Logs to standard error from here on. Lines are written by a thread of their own, and left out where nobody reads them: the engine
/// does not wait.
fn begin_log(format: LogFormat) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(writer).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    guard
}

/// What requests must carry.
fn api_key(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let (key, origin) = match file {
        Some(file) => {
            let key = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            (key, file.display().to_string())
        }
        None => match std::env::var(KEY_VARIABLE) {
            Ok(key) => (key, KEY_VARIABLE.into()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => return Err(error).context(KEY_VARIABLE),
        },
    };
    let key = key.trim();
    ensure!(!key.is_empty(), "the key in {origin} is empty: write one, or serve without");
    Ok(Some(key.into()))
}
