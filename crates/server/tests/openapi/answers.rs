//! Answers and their streams are of the schemas.

use super::running_server::agent;
use super::{KEY, document, server};
use serde_json::{Value, json};

/// Of the schema of this name.
fn validator(name: &str) -> jsonschema::Validator {
    let components = document()["components"].clone();
    let schema = json!({ "$ref": format!("#/components/schemas/{name}"), "components": components });
    jsonschema::validator_for(&schema).unwrap()
}

fn assert_valid(name: &str, value: &Value) {
    let validator = validator(name);
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?} in {value}");
}

fn bodies() -> [(&'static str, [&'static str; 3], Value); 4] {
    let messages = json!([{ "role": "user", "content": "x" }]);
    let tool =
        json!({ "name": "now", "parameters": { "type": "object", "properties": { "of": { "enum": ["UTC"] } } } });
    let mut flat = tool.clone();
    flat["type"] = json!("function");
    [
        (
            "/v1/chat/completions",
            ["ChatRequest", "ChatCompletion", "ChatCompletionChunk"],
            json!({
                "messages": messages, "logprobs": true, "top_logprobs": 2, "stream_options": { "include_usage": true },
                "tools": [{ "type": "function", "function": tool }], "tool_choice": "required", "seed": 3, "max_tokens": 100
            }),
        ),
        (
            "/v1/completions",
            ["CompletionRequest", "Completion", "Completion"],
            json!({ "prompt": "x", "n": 2, "logprobs": 2, "stream_options": { "include_usage": true }, "attention": "sparse" }),
        ),
        (
            "/v1/responses",
            ["ResponsesRequest", "Response", "ResponseEvent"],
            json!({ "input": "x", "tools": [flat], "tool_choice": "required", "max_output_tokens": 100, "budget": "density=1" }),
        ),
        (
            "/v1/messages",
            ["MessagesRequest", "Message", "MessageEvent"],
            json!({
                "model": "MODEL", "messages": messages, "max_tokens": 100, "tool_choice": { "type": "any" },
                "tools": [{ "name": "now", "input_schema": { "type": "object" } }]
            }),
        ),
    ]
}

#[test]
fn answers_and_events_are_of_their_schemas() {
    let server = server();
    for (path, [of_request, of_answer, of_event], mut body) in bodies() {
        for tools in [true, false] {
            if !tools {
                body.as_object_mut().unwrap().retain(|field, _| !field.starts_with("tool"));
            }
            if body["model"] == "MODEL" {
                body["model"] = json!(server.model);
            }
            // As some clients write a field that they say nothing by.
            body["stream"] = Value::Null;
            assert_valid(of_request, &body);
            let (status, answer) = server.post_with_key(path, body.clone(), Some(KEY));
            assert_eq!(status, 200, "{path}: {answer}");
            assert_valid(of_answer, &serde_json::from_str(&answer).unwrap());

            body["stream"] = json!(true);
            let (status, stream) = server.post_with_key(path, body.clone(), Some(KEY));
            assert_eq!(status, 200, "{path}: {stream}");
            let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
            let events: Vec<Value> =
                data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect();
            assert!(events.len() > 2, "{stream}");
            events.iter().for_each(|event| assert_valid(of_event, event));
        }
    }
}

#[test]
fn errors_are_of_the_schemas_of_their_dialects() {
    let server = server();
    for (path, _, body) in bodies() {
        let mut wrong_model = body.clone();
        wrong_model["model"] = json!("gpt-5");
        let mut wrong_range = body.clone();
        wrong_range["recall"] = json!(2);
        wrong_range["model"] = json!(server.model);
        let schema = if path == "/v1/messages" { "AnthropicError" } else { "OpenAiError" };
        for (body, key, status) in [
            (&wrong_model, Some(KEY), 404),
            (&wrong_range, Some(KEY), 400),
            (&json!([]), Some(KEY), if path == "/v1/messages" { 400 } else { 422 }),
            // All of which is sent, so that the answer is heard.
            (&json!("x".repeat(120_000)), Some(KEY), 413),
            (&body, None, 401),
        ] {
            let (got, error) = server.post_with_key(path, body.clone(), key);
            assert_eq!(got, status, "{path}: {error}");
            assert_valid(schema, &serde_json::from_str(&error).unwrap());
        }
        let put = agent().put(format!("{}{path}", server.url)).header("x-api-key", KEY);
        let mut response = put.send_json(body).unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
        assert_valid(schema, &response.body_mut().read_json().unwrap());
    }
}
