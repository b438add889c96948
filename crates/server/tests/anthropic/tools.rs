//! Tools: told to the model, called, read back.

use crate::running_server::{Server, TAGGED};
use crate::{MESSAGES, asked, events, official_client, with};
use serde_json::{Value, json};
use server::ServerOptions;

fn tools() -> Value {
    json!([
        { "name": "weather", "description": "Of a place.", "input_schema": {
            "type": "object", "required": ["days"], "additionalProperties": false,
            "properties": { "place": { "enum": ["Ulm", "Århus"] }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } } } },
        { "type": "custom", "name": "now", "input_schema": { "type": "object", "properties": {}, "additionalProperties": false } },
    ])
}

fn calling(server: &Server, choice: Value, seed: u64) -> Value {
    let mut body = with(with(asked(server, "How is it?"), "tools", tools()), "tool_choice", choice);
    body["max_tokens"] = json!(1500);
    body["temperature"] = json!(1);
    body["seed"] = json!(seed);
    body
}

fn check_call(block: &Value, name: Option<&str>) {
    assert!(block["type"] == "tool_use" && block["id"].as_str().unwrap().starts_with("toolu_"), "{block}");
    assert!(name.is_none_or(|name| block["name"] == name), "{block}");
    match block["name"].as_str() {
        Some("weather") => assert!((1..10).contains(&block["input"]["days"].as_u64().unwrap()), "{block}"),
        Some("now") => assert_eq!(block["input"], json!({})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tools_are_called_and_calls_streamed() {
    let server = Server::with_template(TAGGED);
    let one = |kind: &str| json!({ "type": kind, "name": "weather", "disable_parallel_tool_use": true });
    let mut ended = 0;
    for (choice, name) in [(one("any"), None), (one("tool"), Some("weather"))] {
        for seed in 0..4 {
            let (status, whole) = server.post_json(MESSAGES, calling(&server, choice.clone(), seed));
            assert_eq!(status, 200, "{whole}");
            let [call] = whole["content"].as_array().unwrap().as_slice() else { panic!("{whole}") };
            if whole["stop_reason"] != "tool_use" {
                assert_eq!(whole["stop_reason"], "max_tokens");
                continue;
            }
            ended += 1;
            check_call(call, name);
            let streamed = with(calling(&server, choice.clone(), seed), "stream", json!(true));
            let events = events(&server.post(MESSAGES, streamed).1);
            let mut names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
            names.dedup();
            let block = ["content_block_start", "content_block_delta", "content_block_stop"];
            assert_eq!(names, [&["message_start", "ping"][..], &block, &["message_delta", "message_stop"]].concat());
            let start = &events[2].1["content_block"];
            assert_eq!(
                [&start["type"], &start["name"], &start["input"]],
                [&json!("tool_use"), &call["name"], &json!({})]
            );
            let deltas = events.iter().filter(|(_, data)| data["delta"]["type"] == "input_json_delta");
            let arguments: String = deltas.map(|(_, data)| data["delta"]["partial_json"].as_str().unwrap()).collect();
            assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), call["input"]);
            assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "tool_use");
        }
    }
    assert!(ended >= 6, "{ended} of 8 ended");
    // A model without training says something, and that is text.
    let auto = with(calling(&server, json!({ "type": "auto" }), 1), "max_tokens", json!(20));
    let (_, answer) = server.post_json(MESSAGES, auto);
    assert_eq!((&answer["content"][0]["type"], &answer["stop_reason"]), (&json!("text"), &json!("max_tokens")));
    // A call that was cut short is there, and not to be answered.
    let cut = with(calling(&server, one("tool"), 1), "max_tokens", json!(70));
    let (_, answer) = server.post_json(MESSAGES, cut);
    let call = &answer["content"][0];
    assert_eq!(
        [&call["type"], &call["input"], &answer["stop_reason"]],
        [&json!("tool_use"), &json!({}), &json!("max_tokens")]
    );
}

#[test]
fn tools_calls_and_results_are_read_and_counted() {
    let server = Server::with_template(TAGGED);
    let messages = json!([
        { "role": "user", "content": "How <end> is it?" },
        { "role": "assistant", "content": [
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "toolu_1", "name": "<end>", "input": { "days": 2 } } ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": [{ "type": "text", "text": "<end>Rain." }] },
            { "type": "text", "text": "Go on." } ] },
        { "role": "assistant", "content": "It is" },
    ]);
    // A byte is a token here, and `<end>` of a user's is five.
    let chat = "<user>How <end> is it?<assistant>I look.<tool_call>\n{\"name\": \"<end>\", \"arguments\": {\"days\": 2}}\n</tool_call><tool><end>Rain.<user>Go on.<assistant>It is";
    let body = json!({ "model": server.model, "messages": messages });
    let count = |body: Value| server.post_json("/v1/messages/count_tokens", body).1["input_tokens"].as_u64().unwrap();
    assert_eq!(count(body.clone()), chat.len() as u64);
    let with_tools = with(body.clone(), "tools", tools());
    let counted = count(with_tools.clone());
    assert!(counted > (chat.len() + "<tools>weather Of a place. now</tools>".len()) as u64, "{counted}");
    assert_eq!(count(with(with_tools.clone(), "tool_choice", json!({ "type": "none" }))), chat.len() as u64);
    let (status, answer) = server.post_json(MESSAGES, with(with_tools, "max_tokens", json!(1)));
    assert_eq!((status, &answer["usage"]["input_tokens"]), (200, &json!(counted)), "{answer}");
}

#[test]
fn tools_that_cannot_be_called_are_refused() {
    let auto = |server: &Server| calling(server, json!({ "type": "auto" }), 1);
    let plain = Server::start(ServerOptions::default(), 4);
    let server = Server::with_template(TAGGED);
    let result =
        json!([{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "7" }] }]);
    let searching = json!([{ "type": "web_search_20250305", "name": "web_search", "max_uses": 5 }]);
    for (server, body, says) in [
        (&plain, auto(&plain), "chat template takes no tools"),
        (&server, with(auto(&server), "tools", searching), "a tool of type `web_search_20250305` is not supported"),
        (&server, with(auto(&server), "tools", json!([{ "name": "x" }])), "the tool `x` has no `input_schema`"),
        (
            &server,
            with(auto(&server), "tools", json!([{ "name": "a b", "input_schema": {} }])),
            "a tool is named `a b`",
        ),
        (&server, with(auto(&server), "tools", json!("x")), "tools"),
        (
            &server,
            with(auto(&server), "tool_choice", json!({ "type": "tool", "name": "x" })),
            "the tool `x` is to be called",
        ),
        (
            &server,
            with(auto(&server), "tool_choice", json!({ "type": "required" })),
            "expected `auto`, `any`, `tool` or `none`",
        ),
        (
            &server,
            with(with(auto(&server), "tools", json!([])), "tool_choice", json!({ "type": "any" })),
            "there is none: give tools",
        ),
        (&server, with(auto(&server), "messages", result), "answers the call `toolu_1`"),
    ] {
        for path in [MESSAGES, "/v1/messages/count_tokens"] {
            let (status, body) = server.post_json(path, body.clone());
            let error = &body["error"];
            assert_eq!(
                (status, &body["type"], &error["type"]),
                (400, &json!("error"), &json!("invalid_request_error")),
                "{body}"
            );
            assert!(error["message"].as_str().unwrap().contains(says), "{body}");
        }
    }
    // A schema that cannot be followed is found out where it is compiled.
    let hard = json!([{ "name": "x", "strict": true, "input_schema": { "type": "object", "properties": { "a": { "not": {} } } } }]);
    let (status, body) = server.post_json(MESSAGES, with(auto(&server), "tools", hard));
    assert!(status == 400 && body["error"]["message"].as_str().unwrap().contains("cannot be compiled"), "{body}");
}

#[test]
fn a_model_that_knows_tools_calls_them_for_its_own_client() {
    official_client::is_answered_with_tools("anthropic", "anthropic_tools.py");
}
