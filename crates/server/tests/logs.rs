//! What is logged of a request, and what is not.

mod running_server;

use running_server::{Server, agent};
use serde_json::{Value, json};
use server::ServerOptions;
use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_is_logged_by_its_id_and_without_its_text() {
    let log = Log::default();
    let written = log.clone();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || written.clone()).init();
    let server = Server::start(ServerOptions::default(), 2);
    let ask = |id: &str, max_tokens: usize| {
        let body = json!({ "prompt": "a secret ".repeat(20), "max_tokens": max_tokens, "temperature": 0 });
        let request = agent().post(format!("{}/v1/completions", server.url)).header("x-request-id", id);
        let mut response = request.send_json(body).unwrap();
        response.body_mut().read_json::<Value>().unwrap()
    };
    let answer = ask("fine", 12)["choices"][0]["text"].as_str().unwrap().to_owned();
    ask("too-long", 100_000);
    drop(server);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |id: &str, message: &str| {
        let mut of_request = lines.iter().filter(|line| line["span"]["id"] == id);
        of_request
            .find(|line| line["message"] == message)
            .unwrap_or_else(|| panic!("no `{message}` of {id} in\n{text}"))
    };
    let answered = line("fine", "answered");
    assert_eq!([&answered["prompt_tokens"], &answered["new_tokens"]], [180, 12]);
    assert_eq!(line("fine", "responded")["status"], 200);
    assert_eq!(line("too-long", "not answered")["kind"], "context_length_exceeded");
    assert_eq!(line("too-long", "responded")["status"], 400);
    assert!(!text.contains("secret") && !text.contains(&answer), "{text}");
}
