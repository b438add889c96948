//! OpenAI's API over a tiny model, asked over a socket.

mod formats;
mod logprobs;
mod python;
mod real_model;
#[path = "../running_server/mod.rs"]
mod running_server;
mod tools;

use running_server::{Server, agent};
use serde_json::{Value, json};
use server::ServerOptions;
use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// The data of an event stream, the mark of its end checked and left out.
fn events(body: &str) -> Vec<Value> {
    let mut data: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

const CHAT: &str = "/v1/chat/completions";

fn chat(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 12, "temperature": 0 })
}

#[test]
fn answers_are_whole_or_streamed_and_the_same() {
    let server = Server::start(ServerOptions::default(), 4);
    let (status, whole) = server.post_json(CHAT, chat("Where is it?"));
    assert_eq!(status, 200, "{whole}");
    let message = &whole["choices"][0]["message"];
    assert_eq!((&message["role"], &whole["object"]), (&json!("assistant"), &json!("chat.completion")));
    let text = message["content"].as_str().unwrap();
    assert!(!text.is_empty() && whole["choices"][0]["finish_reason"] == "length");
    let usage = &whole["usage"];
    let prompt = "<user>Where is it?<assistant>".len();
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(prompt), &json!(12)));
    assert_eq!(usage["sparse_attention"]["density"], 1.0);

    let mut asked = chat("Where is it?");
    asked["stream"] = json!(true);
    asked["stream_options"] = json!({ "include_usage": true });
    let (status, body) = server.post(CHAT, asked);
    let events = events(&body);
    assert_eq!((status, &events[0]["choices"][0]["delta"]["role"]), (200, &json!("assistant")));
    let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    let [.., last, usage] = &events[..] else { panic!("{events:?}") };
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(12)));

    let parts = json!([{ "type": "text", "text": "Where " }, { "type": "text", "text": "is it?" }]);
    let mut asked = chat("");
    asked["messages"][0]["content"] = parts;
    assert_eq!(server.post_json(CHAT, asked).1["choices"][0]["message"]["content"], text);

    let completion = json!({ "prompt": "<user>Where is it?<assistant>", "max_tokens": 12, "temperature": 0 });
    let (status, completed) = server.post_json("/v1/completions", completion);
    assert_eq!((status, &completed["choices"][0]["text"]), (200, &json!(text)));
}

#[test]
fn what_is_shared_with_the_turn_before_is_not_read_again() {
    let server = Server::start(ServerOptions::default(), 4);
    let first = "a long text ".repeat(40);
    let (_, answer) = server.post_json(CHAT, chat(&first));
    let mut asked = chat(&first);
    let said = answer["choices"][0]["message"].clone();
    asked["messages"].as_array_mut().unwrap().extend([said, json!({ "role": "user", "content": "And then?" })]);
    let (_, next) = server.post_json(CHAT, asked);
    let cached = next["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    // Whole pages of 64 tokens.
    assert!(cached >= first.len() as u64 / 64 * 64, "{cached}");
}

#[test]
fn what_cannot_be_done_is_said_in_the_bodies_that_clients_read() {
    let server = Server::start(ServerOptions::default(), 4);
    let with = |field: &str, value: Value| {
        let mut asked = chat("x");
        asked[field] = value;
        asked
    };
    for (asked, status, says) in [
        (
            with("tools", json!([{ "type": "function" }])),
            400,
            "`tools` are no list of functions: missing field `function`",
        ),
        (with("suffix", json!("end")), 400, "`suffix` is not supported yet"),
        (
            with("response_format", json!({ "type": "yaml" })),
            400,
            "`response_format.type` is \"yaml\": expected `text`",
        ),
        (with("recall", json!(1.5)), 400, "recall"),
        (with("budget", json!("half")), 400, "a budget is density=0.1"),
        (with("temperature", json!(-1)), 400, "temperature"),
        (with("repetition_penalty", json!(1e39)), 400, "repetition_penalty"),
        (with("model", json!("gpt-5")), 404, "the model `gpt-5` is not served here"),
        (with("messages", json!("x")), 422, "messages"),
        (with("max_tokens", json!(100_000)), 400, "exceed the model's context"),
        (chat(&"x".repeat(9000)), 400, "exceed the model's context"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }), 400, "`image_url`"),
    ] {
        // No stream begins that would end with it.
        for stream in [false, true] {
            let mut asked = asked.clone();
            asked["stream"] = json!(stream);
            let (got, body) = server.post_json(CHAT, asked);
            let error = &body["error"];
            let message = error["message"].as_str().unwrap_or_else(|| panic!("{body}"));
            assert_eq!(got, status, "{message}");
            assert!(message.contains(says) && error["type"].is_string(), "{body}");
        }
    }
    assert_eq!(server.get("/v1/nothing").0, 404);
    assert_eq!(server.get(CHAT).0, 405);
    let mut response = agent().post(format!("{}{CHAT}", server.url)).send("not json").unwrap();
    assert_eq!(response.status().as_u16(), 415);
    let body: Value = response.body_mut().read_json().unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    // It answers the next one all the same.
    assert_eq!(server.post(CHAT, chat("x")).0, 200);
    let (_, models) = server.get("/v1/models");
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][0]["id"], json!(server.model));
    assert_eq!(server.get("/health/ready").0, 200);
}

#[test]
fn who_has_no_key_is_refused() {
    let options = ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() };
    let server = Server::start(options, 4);
    for key in [None, Some(""), Some("secre"), Some("secret2")] {
        let (status, body) = server.post_with_key(CHAT, chat("x"), key);
        assert_eq!(status, 401, "{key:?}");
        assert!(body.contains("invalid_api_key"), "{body}");
    }
    assert_eq!(server.get("/v1/models").0, 401);
    assert_eq!(server.post_with_key(CHAT, chat("x"), Some("secret")).0, 200);
    // To ask whether it lives needs none.
    assert_eq!(server.get("/health/live").0, 200);
}

#[test]
fn what_takes_longer_than_the_deadline_ends_with_an_error() {
    let deadline = Some(Duration::from_millis(300));
    let server = Server::start(ServerOptions { deadline, ..ServerOptions::default() }, 1);
    // Some seconds of tokens, no end token among them.
    let mut body = json!({ "prompt": "x".repeat(100), "max_tokens": 8000, "ignore_eos": true });
    let (status, said) = server.post("/v1/completions", body.clone());
    assert_eq!(status, 504, "{said}");
    assert!(said.contains("deadline_exceeded") && said.contains("0.3 s"), "{said}");
    body["stream"] = json!(true);
    let (status, said) = server.post("/v1/completions", body);
    assert_eq!(status, 200);
    assert!(said.contains("deadline_exceeded") && said.trim_end().ends_with("[DONE]"), "{said}");
    assert!(said.matches("\"text\"").count() > 1, "what came before is sent: {said}");
    // Nobody works on either any more, and what is quick is answered.
    assert_eq!(server.post("/v1/completions", json!({ "prompt": "x", "max_tokens": 1 })).0, 200);
}

#[test]
fn too_many_are_told_to_come_again_and_who_goes_away_makes_room() {
    let server = Server::start(ServerOptions { max_requests: 1, ..ServerOptions::default() }, 1);
    // A client that asks for much, no end token among it, and goes away once it hears the first of it.
    let endless = json!({ "256": -100 });
    let body =
        json!({ "prompt": "x".repeat(100), "max_tokens": 8000, "stream": true, "logit_bias": endless }).to_string();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut client, (head + &body).as_bytes()).unwrap();
    client.read_exact(&mut [0; 16]).unwrap();
    let mut response = agent().post(format!("{}{CHAT}", server.url)).send_json(chat("x")).unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert!(response.body_mut().read_to_string().unwrap().contains("rate_limit_error"));
    drop(client);
    let since = Instant::now();
    while server.post(CHAT, chat("x")).0 != 200 {
        assert!(since.elapsed() < Duration::from_secs(20), "the place of who went away is never free");
        thread::sleep(Duration::from_millis(20));
    }
}
