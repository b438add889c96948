//! A small model that was trained on tools calls them where it may.

use crate::CHAT;
use crate::running_server::Server;
use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use serde_json::{Value, json};
use server::ServerOptions;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");

#[test]
fn qwen_calls_the_tool_that_it_was_told_of() {
    let options = EngineOptions { device: Device::Cpu, ..EngineOptions::default() };
    if !std::path::Path::new(MODEL).exists() {
        eprintln!("SKIPPED: no {MODEL}");
        return;
    }
    let engine = Engine::load(MODEL, &options, &mut |_| {}).unwrap();
    // One token, and a text: the model may write it, and it is read back.
    let opening = engine.encode("<tool_call>").unwrap();
    assert_eq!((opening.len(), engine.decode(&opening).as_str()), (1, "<tool_call>"));
    let server = Server::with_engine(engine, ServerOptions::default(), 2);
    let parameters = json!({ "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } } });
    let tools = json!([{ "type": "function",
        "function": { "name": "get_weather", "description": "The weather in a city.", "parameters": parameters } }]);
    let question = json!({ "role": "user", "content": "What is the weather in Paris? Use the tool." });
    for choice in ["required", "auto"] {
        let asked = json!({ "messages": [question], "tools": tools, "tool_choice": choice, "temperature": 0, "max_tokens": 80 });
        let (status, answer) = server.post_json(CHAT, asked);
        assert_eq!(status, 200, "{answer}");
        let said = &answer["choices"][0]["message"];
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
        let function = &said["tool_calls"][0]["function"];
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments["city"].as_str().unwrap().contains("Paris"), "{answer}");
    }
}
