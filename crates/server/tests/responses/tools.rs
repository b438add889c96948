//! Tools: told to the model, called, read back.

use crate::running_server::{Server, TAGGED};
use crate::{RESPONSES, events, official_client, with};
use serde_json::{Value, json};
use server::ServerOptions;

fn tools() -> Value {
    json!([
        { "type": "function", "name": "weather", "description": "Of a place.", "parameters": {
            "type": "object", "required": ["days"], "additionalProperties": false,
            "properties": { "place": { "enum": ["Ulm", "Århus"] }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } } } },
        { "type": "function", "name": "now", "strict": true },
    ])
}

fn calling(choice: Value, seed: u64) -> Value {
    json!({ "input": "How is it?", "max_output_tokens": 1500, "seed": seed, "tools": tools(), "tool_choice": choice,
        "parallel_tool_calls": false })
}

fn check_call(item: &Value, name: Option<&str>) {
    assert_eq!((&item["type"], &item["status"]), (&json!("function_call"), &json!("completed")), "{item}");
    assert!(item["id"].as_str().unwrap().starts_with("fc_"), "{item}");
    assert!(item["call_id"].as_str().unwrap().starts_with("call_"), "{item}");
    assert!(name.is_none_or(|name| item["name"] == name), "{item}");
    let arguments: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
    match item["name"].as_str() {
        Some("weather") => assert!((1..10).contains(&arguments["days"].as_u64().unwrap()), "{item}"),
        Some("now") => assert_eq!(arguments, json!({})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tools_are_called_and_calls_streamed() {
    let server = Server::with_template(TAGGED);
    let named = json!({ "type": "function", "name": "weather" });
    let mut ended = 0;
    for (choice, name) in [(json!("required"), None), (named.clone(), Some("weather"))] {
        for seed in 0..4 {
            let (status, whole) = server.post_json(RESPONSES, calling(choice.clone(), seed));
            assert_eq!((status, &whole["tools"], &whole["tool_choice"]), (200, &tools(), &choice), "{whole}");
            assert_eq!(whole["parallel_tool_calls"], false);
            let [call] = whole["output"].as_array().unwrap().as_slice() else { panic!("{whole}") };
            assert_eq!(call["status"], whole["status"]);
            if whole["status"] != "completed" {
                continue;
            }
            ended += 1;
            check_call(call, name);
            let (_, body) = server.post(RESPONSES, with(calling(choice.clone(), seed), "stream", json!(true)));
            let events = events(&body);
            let mut names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            names.dedup();
            assert_eq!(
                names,
                [
                    "response.created",
                    "response.in_progress",
                    "response.output_item.added",
                    "response.function_call_arguments.delta",
                    "response.function_call_arguments.done",
                    "response.output_item.done",
                    "response.completed"
                ]
            );
            assert!(events.iter().enumerate().all(|(n, event)| event["sequence_number"] == n));
            let added = &events[2]["item"];
            assert_eq!(
                [&added["name"], &added["arguments"], &added["status"]],
                [&call["name"], &json!(""), &json!("in_progress")]
            );
            let arguments: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
            assert_eq!(arguments, call["arguments"].as_str().unwrap());
            let [.., told, done, last] = &events[..] else { panic!("{events:?}") };
            assert_eq!([&told["arguments"], &told["item_id"]], [&json!(arguments), &added["id"]]);
            assert_eq!(done["item"], last["response"]["output"][0]);
            check_call(&done["item"], name);
        }
    }
    assert!(ended >= 6, "{ended} of 8 ended");
    // A call that was cut short says so.
    let (_, cut) = server.post_json(RESPONSES, with(calling(named, 1), "max_output_tokens", json!(70)));
    assert_eq!([&cut["status"], &cut["output"][0]["status"]], ["incomplete"; 2], "{cut}");
}

#[test]
fn calls_and_outputs_are_read() {
    let server = Server::with_template(TAGGED);
    let input = json!([
        { "role": "user", "content": "How is it?" },
        { "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{\"days\": 2}" },
        { "type": "function_call_output", "call_id": "call_1", "output": "<end>Rain." },
    ]);
    let chat = "<user>How is it?<assistant><tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2}}\n</tool_call><tool><end>Rain.<assistant>";
    let body = json!({ "input": input, "max_output_tokens": 1 });
    let read = |body: Value| server.post_json(RESPONSES, body).1["usage"]["input_tokens"].as_u64().unwrap();
    assert_eq!(read(body.clone()), chat.len() as u64);
    let with_tools = with(body, "tools", tools());
    assert!(read(with_tools.clone()) > (chat.len() + "<tools>weather Of a place. now</tools>".len()) as u64);
    assert_eq!(read(with(with_tools, "tool_choice", json!("none"))), chat.len() as u64);
}

#[test]
fn tools_that_cannot_be_called_are_refused() {
    let plain = Server::start(ServerOptions::default(), 4);
    let server = Server::with_template(TAGGED);
    let auto = || calling(json!("auto"), 1);
    let output = json!([{ "type": "function_call_output", "call_id": "call_1", "output": "7" }]);
    for (server, body, param, says) in [
        (&plain, auto(), "tools", "chat template takes no tools"),
        (
            &server,
            with(auto(), "tools", json!([{ "type": "web_search" }])),
            "tools",
            "a tool of type `web_search` is not supported",
        ),
        (&server, with(auto(), "tools", json!([{ "type": "function" }])), "tools", "missing field `name`"),
        (
            &server,
            with(auto(), "tool_choice", json!({ "type": "file_search" })),
            "tool_choice",
            "expected `none`, `auto`, `required`",
        ),
        (
            &server,
            with(auto(), "tool_choice", json!({ "type": "function", "name": "x" })),
            "tools",
            "the tool `x` is to be called",
        ),
        (&server, with(auto(), "input", output), "input", "answers the call `call_1`"),
    ] {
        let (status, body) = server.post_json(RESPONSES, body);
        let error = &body["error"];
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{body}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}");
    }
}

#[test]
fn a_model_that_knows_tools_calls_them_for_openais_own_client() {
    official_client::is_answered_with_tools("openai", "openai_tools.py");
}
