//! Anthropic's API over a tiny model, asked over a socket and by Anthropic's own client.

#[path = "../official_client/mod.rs"]
mod official_client;
#[path = "../running_server/mod.rs"]
mod running_server;
mod tools;

use running_server::{Server, agent};
use serde_json::{Value, json};
use server::ServerOptions;

const MESSAGES: &str = "/v1/messages";

fn asked(server: &Server, text: &str) -> Value {
    json!({
        "model": server.model, "max_tokens": 12, "temperature": 0, "system": "Answer.",
        "messages": [{ "role": "user", "content": text }],
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Names and data of an event stream.
fn events(body: &str) -> Vec<(String, Value)> {
    let event = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let data = field("data:").unwrap_or_else(|| panic!("no data in {event}"));
        (field("event:").unwrap_or_default().to_owned(), serde_json::from_str(data).unwrap())
    };
    body.split("\n\n").filter(|event| !event.is_empty()).map(event).collect()
}

#[test]
fn messages_are_whole_or_streamed_and_the_same() {
    let server = Server::start(ServerOptions::default(), 4);
    let (status, whole) = server.post_json(MESSAGES, asked(&server, "Where is it?"));
    assert_eq!(status, 200, "{whole}");
    assert_eq!([&whole["type"], &whole["role"], &whole["stop_reason"]], ["message", "assistant", "max_tokens"]);
    let text = whole["content"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && whole["content"][0]["type"] == "text");
    let prompt_tokens = "<system>Answer.<user>Where is it?<assistant>".len();
    let usage = &whole["usage"];
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"]], [&json!(prompt_tokens), &json!(12)]);
    assert_eq!(whole["sparse_attention"]["density"], 1.0);

    // The same prompt by OpenAI's API.
    let chat = json!({ "temperature": 0, "max_tokens": 12, "messages": [
        { "role": "system", "content": "Answer." }, { "role": "user", "content": "Where is it?" }] });
    let (_, chat) = server.post_json("/v1/chat/completions", chat);
    assert_eq!(chat["choices"][0]["message"]["content"], text);

    // In blocks, and in two messages of one role that are one turn.
    let blocks = json!([{ "role": "user", "content": [{ "type": "text", "text": "Where " }, { "type": "text", "text": "is it?" }] }]);
    let system = json!([{ "type": "text", "text": "Answer.", "cache_control": { "type": "ephemeral" } }]);
    let body = with(with(asked(&server, ""), "messages", blocks.clone()), "system", system);
    assert_eq!(server.post_json(MESSAGES, body).1["content"][0]["text"], text);

    // The system's part as a message.
    let mut all = blocks;
    all.as_array_mut().unwrap().insert(0, json!({ "role": "system", "content": "Answer." }));
    let body = with(with(asked(&server, ""), "messages", all), "system", json!(null));
    assert_eq!(server.post_json(MESSAGES, body).1["content"][0]["text"], text);

    let (status, body) = server.post(MESSAGES, with(asked(&server, "Where is it?"), "stream", json!(true)));
    assert_eq!(status, 200, "{body}");
    let events = events(&body);
    let mut names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert!(events.iter().all(|(name, data)| data["type"] == **name));
    let pieces = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(events[0].1["message"]["content"], json!([]));
    let ended = &events[events.len() - 2].1;
    assert_eq!([&ended["delta"]["stop_reason"], &ended["usage"]["output_tokens"]], [&json!("max_tokens"), &json!(12)]);
}

#[test]
fn an_answer_ends_where_it_is_told_to_and_goes_on_where_it_began() {
    let server = Server::start(ServerOptions::default(), 4);
    let (_, whole) = server.post_json(MESSAGES, asked(&server, "Where is it?"));
    let text = whole["content"][0]["text"].as_str().unwrap();
    let (before, stop) = text.split_at(text.char_indices().nth(3).unwrap().0);
    let stop: String = stop.chars().take(2).collect();
    let stops = json!(["not in there", stop]);
    let (_, stopped) = server.post_json(MESSAGES, with(asked(&server, "Where is it?"), "stop_sequences", stops));
    assert_eq!([&stopped["stop_reason"], &stopped["stop_sequence"]], [&json!("stop_sequence"), &json!(stop)]);
    assert_eq!(stopped["content"][0]["text"], text.split(&stop).next().unwrap());

    // What the assistant has written already is not said again.
    let opened = json!([{ "role": "user", "content": "Where is it?" }, { "role": "assistant", "content": before }]);
    let (status, opened) = server.post_json(MESSAGES, with(asked(&server, ""), "messages", opened));
    assert_eq!(status, 200, "{opened}");
    let prompt_tokens = "<system>Answer.<user>Where is it?<assistant>".len() + before.len();
    let usage = &opened["usage"];
    let read = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(read, prompt_tokens as u64);

    // More than the context holds is as much as it holds.
    let long = with(asked(&server, &"x".repeat(8100)), "max_tokens", json!(100_000));
    let (status, long) = server.post_json(MESSAGES, long);
    assert_eq!((status, &long["stop_reason"]), (200, &json!("model_context_window_exceeded")), "{long}");
}

#[test]
fn tokens_are_counted_and_those_cached_apart() {
    let server = Server::start(ServerOptions::default(), 4);
    let long = "a long text ".repeat(30);
    let mut count = asked(&server, &long);
    count.as_object_mut().unwrap().retain(|field, _| ["model", "messages", "system"].contains(&field.as_str()));
    let (status, counted) = server.post_json("/v1/messages/count_tokens", count);
    assert_eq!(status, 200, "{counted}");
    let prompt_tokens = "<system>Answer.<user><assistant>".len() + long.len();
    assert_eq!(counted["input_tokens"], prompt_tokens);
    server.post_json(MESSAGES, asked(&server, &long));
    let usage = server.post_json(MESSAGES, asked(&server, &long)).1["usage"].clone();
    // Whole pages of 64 tokens.
    let cached = prompt_tokens / 64 * 64;
    assert_eq!(
        [&usage["input_tokens"], &usage["cache_read_input_tokens"]],
        [&json!(prompt_tokens - cached), &json!(cached)]
    );
}

#[test]
fn what_cannot_be_done_is_said_as_anthropic_says_it() {
    let server = Server::start(ServerOptions { max_body_bytes: 20_000, ..ServerOptions::default() }, 4);
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": {} }] }]);
    let x = || asked(&server, "x");
    for (body, status, kind, says) in [
        (with(x(), "thinking", json!({ "type": "enabled" })), 400, "invalid_request_error", "`thinking`"),
        (with(x(), "thread", json!({ "type": "create" })), 400, "invalid_request_error", "no threads are kept here"),
        (with(x(), "messages", image), 400, "invalid_request_error", "`image`"),
        (with(x(), "messages", json!([])), 400, "invalid_request_error", "no message of a user"),
        (with(x(), "messages", json!("x")), 400, "invalid_request_error", "messages"),
        (with(x(), "max_tokens", json!(0)), 400, "invalid_request_error", "one token or more"),
        (with(x(), "max_tokens", json!(null)), 400, "invalid_request_error", "`max_tokens`"),
        (with(x(), "temperature", json!(-1)), 400, "invalid_request_error", "temperature"),
        (with(x(), "model", json!("claude")), 404, "not_found_error", "the model `claude` is not served here"),
        (asked(&server, &"x".repeat(9000)), 400, "invalid_request_error", "exceed the model's context"),
        (asked(&server, &"x".repeat(30_000)), 413, "request_too_large", ""),
    ] {
        // No stream begins that would end with it.
        for stream in [false, true] {
            let (got, body) = server.post_json(MESSAGES, with(body.clone(), "stream", json!(stream)));
            let error = &body["error"];
            assert_eq!((got, &body["type"], &error["type"]), (status, &json!("error"), &json!(kind)), "{body}");
            assert!(error["message"].as_str().unwrap().contains(says), "{body}");
            assert!(body["request_id"].as_str().unwrap().starts_with("req_"));
        }
    }
    // Off is what it is.
    assert_eq!(server.post(MESSAGES, with(x(), "thinking", json!({ "type": "disabled" }))).0, 200);
    let ask = |version: &str| {
        let request = agent().post(format!("{}{MESSAGES}", server.url)).header("anthropic-version", version);
        let response = request.send_json(x()).unwrap();
        (response.status().as_u16(), response.headers().contains_key("request-id"))
    };
    for (version, status) in [("2023-06-01", 200), ("2026-10-21", 200), ("2023-01-01", 400), ("latest", 400)] {
        assert_eq!(ask(version), (status, true), "{version}");
    }
}

#[test]
fn keys_are_those_that_its_clients_send() {
    let options = ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() };
    let server = Server::start(options, 4);
    let ask = |key: &str| {
        let request = agent().post(format!("{}{MESSAGES}", server.url)).header("x-api-key", key);
        let mut response = request.send_json(asked(&server, "x")).unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap())
    };
    let (status, refused) = ask("secre");
    assert_eq!((status, &refused["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(ask("secret").0, 200);
}

#[test]
fn its_own_client_is_answered() {
    official_client::is_answered("anthropic", "anthropic_messages.py");
}
