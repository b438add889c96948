//! What those need who run a server: tokens, metrics, ids of requests.

mod running_server;

use running_server::{Server, agent};
use serde_json::{Value, json};
use server::ServerOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

fn complete(server: &Server, prompt: &str) {
    let body = json!({ "prompt": prompt, "max_tokens": 12, "temperature": 0 });
    let (status, answer) = server.post_json("/v1/completions", body);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn texts_become_tokens_and_tokens_the_text() {
    let server = Server::start(ServerOptions::default(), 2);
    let (status, tokens) = server.post_json("/tokenize", json!({ "prompt": "Où est-il ?" }));
    assert_eq!((status, &tokens["count"], &tokens["max_model_len"]), (200, &json!(12), &json!(8192)));
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 12);
    let (status, text) = server.post_json("/detokenize", json!({ "tokens": tokens["tokens"] }));
    assert_eq!((status, &text["prompt"]), (200, &json!("Où est-il ?")));
    for (path, body, says, status) in [
        ("/detokenize", json!({ "tokens": [1, 257] }), "token 257 is not below the vocabulary size 257", 400),
        ("/tokenize", json!({ "prompt": "x", "model": "gpt-5" }), "the model `gpt-5` is not served here", 404),
        ("/tokenize", json!({}), "prompt", 422),
    ] {
        let (got, error) = server.post_json(path, body);
        assert_eq!(got, status);
        assert!(error["error"]["message"].as_str().unwrap().contains(says), "{error}");
    }
}

/// Of a metric, by its whole name and labels.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

#[test]
fn metrics_count_what_was_done() {
    let server = Server::start(ServerOptions::default(), 2);
    let prompt = "a long text ".repeat(20);
    complete(&server, &prompt);
    complete(&server, &prompt);
    let (refused, _) = server.post("/v1/completions", json!({ "prompt": "x".repeat(9000) }));
    let (wrong, _) = server.post("/v1/completions", json!({ "prompt": "x", "n": 0 }));
    assert_eq!((refused, wrong), (400, 400));
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    for (name, wanted) in [
        ("prompt_tokens_total", 480.0),
        // Three pages of 64 tokens.
        ("cached_prompt_tokens_total", 192.0),
        ("new_tokens_total", 24.0),
        ("time_to_first_token_seconds_count", 2.0),
        ("density_count", 2.0),
        ("dense_fallbacks_total", 2.0),
        ("preemptions_total", 0.0),
        ("requests_waiting", 0.0),
        ("requests_running", 0.0),
        // Each once, whether the engine or the server refused it.
        ("errors_total{kind=\"context_length_exceeded\",status=\"400\"}", 1.0),
        ("errors_total{kind=\"integer_below_min_value\",status=\"400\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, &format!("sparse_accelerate_{name}")), wanted, "{name}");
    }
    assert!(value(&metrics, "sparse_accelerate_between_tokens_seconds_count") > 0.0);
    assert!(metrics.ends_with("# EOF\n"));
}

#[test]
fn requests_have_ids_and_keep_those_they_bring() {
    let server = Server::start(ServerOptions::default(), 2);
    let ask = |path: &str, id: Option<&str>| {
        let request = agent().get(format!("{}{path}", server.url));
        let request = match id {
            Some(id) => request.header("x-request-id", id),
            None => request,
        };
        let response = request.call().unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask("/health", Some("mine-7")), "mine-7");
    let (one, other) = (ask("/v1/models", None), ask("/v1/models", None));
    assert!(one.starts_with("req_") && one != other, "{one} {other}");
    // What would break a line of a log, or fill it, is not kept.
    for unfit in ["a b", &"x".repeat(200)] {
        assert!(ask("/v1/models", Some(unfit)).starts_with("req_"));
    }
    let body: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    assert_eq!(body["object"], "list");
}

/// The answer is far larger than what sockets hold, so that the server cannot write it all; the engine is done with it nevertheless.
#[test]
fn a_client_that_does_not_read_holds_no_place() {
    let server = Server::start(ServerOptions { max_requests: 1, ..ServerOptions::default() }, 1);
    let body = json!({
        "messages": [{ "role": "user", "content": "x" }], "max_tokens": 8000, "ignore_eos": true, "stream": true,
        "logprobs": true, "top_logprobs": 20,
    });
    let body = body.to_string();
    let mut deaf = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        deaf,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut status = [0; 12];
    deaf.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let another = json!({ "prompt": "y", "max_tokens": 1 });
    assert_eq!(server.post("/v1/completions", another.clone()).0, 429);
    let patience = Instant::now() + Duration::from_secs(120);
    while server.post("/v1/completions", another.clone()).0 == 429 {
        assert!(Instant::now() < patience, "a client that does not read keeps others out");
        thread::sleep(Duration::from_millis(50));
    }
    drop(deaf);
}
