//! `response_format`.

use crate::running_server::Server;
use crate::{CHAT, events};
use serde_json::{Value, json};
use server::ServerOptions;

fn asked(format: &Value, seed: u64) -> Value {
    json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 600, "seed": seed, "response_format": format })
}

fn text(answer: &Value) -> Option<&str> {
    let choice = &answer["choices"][0];
    choice["message"]["content"].as_str().filter(|_| choice["finish_reason"] == "stop")
}

#[test]
fn answers_have_the_format_that_was_asked_for() {
    let server = Server::start(ServerOptions::default(), 4);
    let schema = json!({ "type": "object", "additionalProperties": false, "required": ["colour", "count"], "properties": {
        "colour": { "enum": ["red", "blå"] }, "count": { "type": "integer", "minimum": 0, "maximum": 20 } } });
    let json_schema =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } });
    let mut ended = 0;
    for seed in 0..8 {
        let (status, answer) = server.post_json(CHAT, asked(&json_schema, seed));
        assert_eq!(status, 200, "{answer}");
        let Some(text) = text(&answer) else { continue };
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(["red", "blå"].contains(&value["colour"].as_str().unwrap()), "{value}");
        assert!(value["count"].as_u64().unwrap() <= 20 && value.as_object().unwrap().len() == 2, "{value}");
        ended += 1;
    }
    assert!(ended >= 6, "{ended} of 8 ended");
    let (_, answer) = server.post_json(CHAT, asked(&json!({ "type": "json_object" }), 3));
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{answer}");
    let (_, answer) = server.post_json(CHAT, asked(&json!({ "type": "regex", "regex": "[0-9]{2}:[0-9]{2}" }), 3));
    assert!(text(&answer).unwrap().chars().map(|c| c == ':').eq([false, false, true, false, false]), "{answer}");

    let grammar = json!({ "type": "grammar", "grammar": "start: \"(\" start \")\" | \"x\"" });
    let mut streamed = asked(&grammar, 3);
    streamed["stream"] = json!(true);
    let (_, body) = server.post(CHAT, streamed);
    let events = events(&body);
    let said: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let whole = server.post_json(CHAT, asked(&grammar, 3)).1;
    assert_eq!(whole["choices"][0]["message"]["content"], said);
    let completion = json!({ "prompt": "x", "max_tokens": 9, "response_format": { "type": "regex", "regex": "ab+c" } });
    let (_, completed) = server.post_json("/v1/completions", completion);
    assert!(completed["choices"][0]["text"].as_str().unwrap().starts_with("ab"), "{completed}");
}

#[test]
fn a_format_that_cannot_be_is_said() {
    let server = Server::start(ServerOptions::default(), 4);
    let schema = |schema: Value| json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    for (format, says) in [
        (json!("json"), "`response_format.type` is null: expected `text`"),
        (json!({ "type": "json_schema" }), "`response_format.json_schema.schema` is missing"),
        (json!({ "type": "regex" }), "`response_format.regex` is missing"),
        (json!({ "type": "regex", "regex": "[" }), "the regular expression cannot be compiled"),
        (schema(json!({ "type": "objekt" })), "the JSON schema cannot be compiled: Invalid type: objekt"),
        (schema(json!({ "not": {} })), "Unimplemented keys"),
    ] {
        let (status, body) = server.post_json(CHAT, asked(&format, 1));
        let error = &body["error"];
        assert!(error["message"].as_str().unwrap().contains(says), "{body}");
        assert_eq!(
            (status, &error["param"], &error["type"]),
            (400, &json!("response_format"), &json!("invalid_request_error"))
        );
    }
}
