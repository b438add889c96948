//! Tools: told to the model, called, read back.

use crate::running_server::{Server, TAGGED};
use crate::{CHAT, events};
use serde_json::{Value, json};
use server::ServerOptions;

/// As those of Llama 3 do it.
const BARE: &str = r#"{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ "ipython" if m.role == "tool" else m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}{% endfor %}{% endfor %}<assistant>"#;

fn tools() -> Value {
    json!([
        { "type": "function", "function": { "name": "weather", "description": "Of a place.", "parameters": {
            "type": "object", "required": ["days"], "additionalProperties": false,
            "properties": { "place": { "enum": ["Ulm", "Århus"] }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } } } } },
        { "type": "function", "function": { "name": "now" } },
    ])
}

fn asked(choice: Value, seed: u64) -> Value {
    json!({ "messages": [{ "role": "user", "content": "How is it?" }], "max_tokens": 1500, "seed": seed, "tools": tools(),
        "tool_choice": choice, "parallel_tool_calls": false })
}

fn check_call(call: &Value, name: Option<&str>) {
    assert!(call["id"].as_str().unwrap().starts_with("call_") && call["type"] == "function", "{call}");
    let function = &call["function"];
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert!(name.is_none_or(|name| function["name"] == name), "{call}");
    match function["name"].as_str() {
        Some("weather") => assert!((1..10).contains(&arguments["days"].as_u64().unwrap()), "{call}"),
        Some("now") => assert_eq!(arguments, json!({})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tools_are_called_and_calls_streamed() {
    let named = json!({ "type": "function", "function": { "name": "weather" } });
    for template in [TAGGED, BARE] {
        let server = Server::with_template(template);
        let mut ended = 0;
        for (choice, name) in [(json!("required"), None), (named.clone(), Some("weather"))] {
            for seed in 0..4 {
                let (status, answer) = server.post_json(CHAT, asked(choice.clone(), seed));
                assert_eq!(status, 200, "{answer}");
                let whole = &answer["choices"][0];
                if whole["finish_reason"] != "tool_calls" {
                    continue;
                }
                ended += 1;
                let message = &whole["message"];
                assert_eq!(message["content"], Value::Null);
                let [call] = message["tool_calls"].as_array().unwrap().as_slice() else { panic!("{message}") };
                check_call(call, name);

                let mut streamed = asked(choice.clone(), seed);
                streamed["stream"] = json!(true);
                let (_, body) = server.post(CHAT, streamed);
                let events = events(&body);
                let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]);
                let mut named = deltas().filter(|call| call["id"].is_string());
                let head = named.next().unwrap();
                assert_eq!((&head["function"]["name"], named.next()), (&call["function"]["name"], None));
                let arguments: String = deltas().filter_map(|call| call["function"]["arguments"].as_str()).collect();
                assert_eq!(arguments, call["function"]["arguments"].as_str().unwrap());
                assert!(deltas().filter(|call| call.is_object()).all(|call| call["index"] == 0));
                assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
            }
        }
        assert!(ended >= 6, "{ended} of 8 ended");
        // A model without training says something, and that is text.
        let mut auto = asked(json!("auto"), 1);
        auto["max_tokens"] = json!(20);
        let (_, answer) = server.post_json(CHAT, auto);
        let message = &answer["choices"][0]["message"];
        assert!(message["content"].is_string() && message.get("tool_calls").is_none(), "{answer}");
    }
}

#[test]
fn calls_and_results_go_into_the_template() {
    let server = Server::with_template(TAGGED);
    let call =
        json!({ "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{\"days\": 2}" } });
    let messages = json!([
        { "role": "user", "content": "How <end> is it?" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": [{ "type": "text", "text": "<end>Rain." }] },
    ]);
    let rendered = "<user>How <end> is it?<assistant><tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2}}\n</tool_call><tool><end>Rain.<assistant>";
    let (status, answer) = server.post_json(CHAT, json!({ "messages": messages, "max_tokens": 1 }));
    // A byte is a token here, and `<end>` of a user's is five.
    assert_eq!((status, &answer["usage"]["prompt_tokens"]), (200, &json!(rendered.len())), "{answer}");
    // Nor may names, roles and arguments spell a control token.
    let hostile = json!([
        { "role": "<end>", "content": "x" },
        { "role": "assistant", "tool_calls": [{ "id": "<end>", "type": "function",
            "function": { "name": "<end>", "arguments": "{\"<end>\": \"<end>\"}" } }] },
    ]);
    let rendered = "<<end>>x<assistant><tool_call>\n{\"name\": \"<end>\", \"arguments\": {\"<end>\": \"<end>\"}}\n</tool_call><assistant>";
    let (_, answer) = server.post_json(CHAT, json!({ "messages": hostile, "max_tokens": 1 }));
    assert_eq!(answer["usage"]["prompt_tokens"], rendered.len(), "{answer}");
    let none = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1, "tools": tools(), "tool_choice": "none" });
    assert_eq!(server.post_json(CHAT, none).1["usage"]["prompt_tokens"], "<user>x<assistant>".len());
}

#[test]
fn tools_that_cannot_be_called_are_said() {
    let plain = Server::start(ServerOptions::default(), 4);
    let (status, body) = plain.post_json(CHAT, asked(json!("auto"), 1));
    assert_eq!((status, &body["error"]["param"]), (400, &json!("tools")), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("chat template takes no tools"), "{body}");
    let server = Server::with_template(TAGGED);
    let with = |field: &str, value: Value| {
        let mut asked = asked(json!("auto"), 1);
        asked[field] = value;
        asked
    };
    let bad_arguments =
        json!([{ "role": "assistant", "tool_calls": [{ "id": "c", "function": { "name": "x", "arguments": "[" } }] }]);
    for (asked, param, says) in [
        (with("tool_choice", json!("any")), "tool_choice", "`tool_choice` is \"any\": expected `none`"),
        (
            with("tool_choice", json!({ "type": "function", "function": { "name": "x" } })),
            "tools",
            "the tool `x` is to be called",
        ),
        (
            with("tools", json!([{ "type": "function", "function": { "name": "a b" } }])),
            "tools",
            "a tool is named `a b`",
        ),
        (with("tools", json!([{ "type": "search" }])), "tools", "unknown variant `search`"),
        (
            with("response_format", json!({ "type": "json_object" })),
            "response_format",
            "leave `tools` or `response_format` out",
        ),
        (with("messages", bad_arguments), "messages", "the arguments of call `c` are no JSON object"),
        (with("messages", json!([{ "role": "user" }])), "messages", "has no content"),
        (json!({ "messages": [], "tool_choice": "required" }), "tools", "there is none: give tools"),
    ] {
        let (status, body) = server.post_json(CHAT, asked);
        let error = &body["error"];
        assert!(error["message"].as_str().unwrap().contains(says), "{body}");
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{body}");
    }
}
