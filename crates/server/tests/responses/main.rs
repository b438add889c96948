//! OpenAI's responses over a tiny model, asked over a socket and by OpenAI's own client.

#[path = "../official_client/mod.rs"]
mod official_client;
#[path = "../running_server/mod.rs"]
mod running_server;
mod tools;

use running_server::Server;
use serde_json::{Value, json};
use server::ServerOptions;

const RESPONSES: &str = "/v1/responses";

fn asked(input: Value) -> Value {
    json!({ "input": input, "instructions": "Answer.", "max_output_tokens": 12, "temperature": 0 })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// What the events of a stream say.
fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn responses_are_whole_or_streamed_and_the_same() {
    let server = Server::start(ServerOptions::default(), 4);
    let (status, whole) = server.post_json(RESPONSES, asked(json!("Where is it?")));
    assert_eq!(
        (status, &whole["object"], &whole["status"]),
        (200, &json!("response"), &json!("incomplete")),
        "{whole}"
    );
    let item = &whole["output"][0];
    assert_eq!([&item["type"], &item["role"], &item["content"][0]["type"]], ["message", "assistant", "output_text"]);
    let text = item["content"][0]["text"].as_str().unwrap();
    let prompt_tokens = "<system>Answer.<user>Where is it?<assistant>".len();
    let usage = &whole["usage"];
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"]], [&json!(prompt_tokens), &json!(12)]);
    assert_eq!(usage["sparse_attention"]["density"], 1.0);
    assert!(!text.is_empty());

    let items = json!([{ "role": "user", "content": [{ "type": "input_text", "text": "Where is it?" }] }]);
    let (_, same) = server.post_json(RESPONSES, asked(items));
    assert_eq!(same["output"][0]["content"][0]["text"], text);

    let (_, body) = server.post(RESPONSES, with(asked(json!("Where is it?")), "stream", json!(true)));
    let events = events(&body);
    let mut names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(body.lines().filter_map(|line| line.strip_prefix("event: ")).eq(names.iter().copied()));
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete"
        ]
    );
    assert!(events.iter().enumerate().all(|(n, event)| event["sequence_number"] == n));
    let pieces = events.iter().filter_map(|event| event["delta"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["output"][0]["content"][0]["text"], &last["usage"]["output_tokens"]), (&json!(text), &json!(12)));
    assert_eq!(last["id"], events[0]["response"]["id"]);
}

#[test]
fn what_is_not_there_yet_is_said() {
    let server = Server::start(ServerOptions::default(), 4);
    let x = || asked(json!("x"));
    for (body, param, says) in [
        (with(x(), "previous_response_id", json!("resp_1")), "previous_response_id", "`previous_response_id`"),
        (with(x(), "text", json!({ "format": { "type": "json_schema" } })), "text", "`text`"),
        (asked(json!([])), "input", "no message to answer"),
        (asked(json!([{ "type": "reasoning", "summary": [] }])), "input", "`reasoning`"),
        (with(x(), "recall", json!(2)), "", "recall"),
    ] {
        let (status, body) = server.post_json(RESPONSES, body);
        let error = &body["error"];
        assert_eq!((status, error["param"].as_str().unwrap_or_default()), (400, param), "{body}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}");
    }
    assert_eq!(server.post(RESPONSES, with(x(), "text", json!({ "format": { "type": "text" } }))).0, 200);
}

#[test]
fn openais_own_client_is_answered() {
    official_client::is_answered("openai", "openai_responses.py");
}
