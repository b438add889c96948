//! A server over a tiny model, and how to ask it.
#![allow(dead_code)] // not every test asks in every way

#[path = "../../../runtime/tests/small_model/mod.rs"]
pub mod small_model;

use runtime::engine::service::{Service, ServiceOptions};
use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use serde_json::{Value, json};
use server::{ServerOptions, serve};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const PLAIN: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>";

/// Tells of tools as templates of Qwen do.
pub const TAGGED: &str = r#"{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endfor %}<assistant>"#;

fn of_running(max_running: usize) -> ServiceOptions {
    ServiceOptions { max_running, ..ServiceOptions::default() }
}

/// A server that ends with it.
pub struct Server {
    pub url: String,
    /// Name of the model.
    pub model: String,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(options: ServerOptions, max_running: usize) -> Self {
        Self::of(8192, PLAIN, options, of_running(max_running))
    }

    /// One whose template tells of tools.
    pub fn with_template(template: &str) -> Self {
        Self::of(8192, template, ServerOptions::default(), of_running(4))
    }

    /// One of a model with a context of so many tokens.
    pub fn of(max_context: usize, template: &str, options: ServerOptions, of_service: ServiceOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        small_model::write_with(folder.path(), json!({ "max_position_embeddings": max_context }));
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        let options_of_engine =
            EngineOptions { device: Device::Cpu, threads: 1, chunk_tokens: Some(64), ..EngineOptions::default() };
        let engine = Engine::load(folder.path().to_str().unwrap(), &options_of_engine, &mut |_| {}).unwrap();
        Self::with_service(engine, options, of_service)
    }

    /// One of an engine that is there.
    pub fn with_engine(engine: Engine, options: ServerOptions, max_running: usize) -> Self {
        Self::with_service(engine, options, of_running(max_running))
    }

    fn with_service(engine: Engine, options: ServerOptions, of_service: ServiceOptions) -> Self {
        let model = engine.model_name().to_owned();
        let service = Service::start(engine, of_service);
        let ((shutdown, ended), (tell, told)) = (oneshot::channel(), channel());
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(
                async move {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    tell.send(listener.local_addr().unwrap()).unwrap();
                    serve(listener, service, options, async { drop(ended.await) }).await.unwrap();
                },
            )
        });
        let url = format!("http://{}", told.recv().unwrap());
        Self { url, model, shutdown: Some(shutdown), thread: Some(thread) }
    }

    /// Status and body of a request.
    pub fn post(&self, path: &str, body: Value) -> (u16, String) {
        self.post_with_key(path, body, None)
    }

    pub fn post_with_key(&self, path: &str, body: Value, key: Option<&str>) -> (u16, String) {
        let request = agent().post(format!("{}{path}", self.url));
        let request = match key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        };
        let mut response = request.send_json(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn post_json(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post(path, body);
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(format!("{}{path}", self.url)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }
}

impl Server {
    /// Once what is under way is answered.
    pub fn end(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn agent() -> ureq::Agent {
    let timeout = Some(Duration::from_secs(60));
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
}
