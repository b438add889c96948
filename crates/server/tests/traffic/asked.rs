//! What clients ask, and what they must get for it.

use crate::MAX_BODY_BYTES;
use crate::client::Draw;
use serde_json::{Value, json};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Chat,
    ChatStream,
    SeveralStream,
    Responses,
    ResponsesStream,
    Messages,
    MessagesStream,
    Tools,
    Schema,
    Count,
    Tokens,
    Operation,
    Gone,
    GoneInTheMiddle,
    HalfHead,
    HalfBody,
    Garbage,
    BrokenJson,
    Deep,
    TooLong,
    TooLarge,
    TooMany,
}

impl Kind {
    pub const ALL: [Self; 22] = [
        Self::Chat,
        Self::ChatStream,
        Self::SeveralStream,
        Self::Responses,
        Self::ResponsesStream,
        Self::Messages,
        Self::MessagesStream,
        Self::Tools,
        Self::Schema,
        Self::Count,
        Self::Tokens,
        Self::Operation,
        Self::Gone,
        Self::GoneInTheMiddle,
        Self::HalfHead,
        Self::HalfBody,
        Self::Garbage,
        Self::BrokenJson,
        Self::Deep,
        Self::TooLong,
        Self::TooLarge,
        Self::TooMany,
    ];
}

/// How a client ends it.
#[derive(Debug)]
pub enum End {
    /// Reads the answer to its end.
    Read,
    /// Goes away soon after it has sent.
    Vanish,
    /// Goes away once it has read the first of the answer.
    VanishInTheMiddle,
}

pub struct Asked {
    pub bytes: Vec<u8>,
    pub end: End,
    /// Those that are right, beside 429.
    pub statuses: &'static [u16],
    /// Of the body of a 200.
    pub check: fn(&str),
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let beginning = &self.bytes[..self.bytes.len().min(600)];
        write!(f, "{:?} {}", self.end, String::from_utf8_lossy(beginning))
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn asks(path: &str, body: Value, check: fn(&str)) -> Asked {
    Asked { bytes: post(path, body.to_string().as_bytes()), end: End::Read, statuses: &[200], check }
}

fn is_refused(path: &str, body: &[u8], statuses: &'static [u16]) -> Asked {
    Asked { bytes: post(path, body), end: End::Read, statuses, check: |body| panic!("an answer: {body}") }
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"))
}

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["colour", "counts"],
        "properties": {
            "colour": { "enum": ["red", "blå"] },
            "counts": { "type": "array", "maxItems": 3, "items": { "type": "integer", "minimum": 0, "maximum": 20 } },
            "more": { "type": "object", "additionalProperties": false, "properties": { "so": { "type": "boolean" } } },
        },
    })
}

fn is_of_schema(body: &str) {
    let choice = &json_of(body)["choices"][0];
    if choice["finish_reason"] == "stop" {
        let answer = json_of(choice["message"]["content"].as_str().unwrap());
        assert!(jsonschema::is_valid(&schema(), &answer), "{answer}");
    }
}

fn names_a_tool(body: &str) {
    let choice = &json_of(body)["choices"][0];
    if choice["finish_reason"] == "tool_calls" {
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(function["name"], "paint", "{body}");
        assert!(jsonschema::is_valid(&schema(), &json_of(function["arguments"].as_str().unwrap())), "{body}");
    }
}

impl Kind {
    /// One of this kind.
    pub fn asked(self, draw: &mut Draw, model: &str) -> Asked {
        let text = "a text that some begin with, ".repeat(draw.below(20) as usize) + &draw.below(9).to_string();
        let messages = json!([{ "role": "user", "content": text }]);
        let (max_tokens, seed) = (1 + draw.below(60), draw.below(1000));
        let chat = json!({ "messages": messages, "max_tokens": max_tokens, "seed": seed });
        let message = json!({ "model": model, "messages": messages, "max_tokens": max_tokens });
        let response = json!({ "input": text, "max_output_tokens": max_tokens });
        let with = |body: &Value, field: &str, value: Value| {
            let mut body = body.clone();
            body[field] = value;
            body
        };
        let streamed = |body: &Value| with(body, "stream", json!(true));
        const CHAT: &str = "/v1/chat/completions";
        // Long, no end token among it.
        let endless = json!({ "prompt": text, "max_tokens": 400, "stream": true, "logit_bias": { "256": -100 } });
        match self {
            Self::Chat => asks(CHAT, chat, |body| assert_eq!(json_of(body)["object"], "chat.completion")),
            Self::ChatStream => asks(CHAT, streamed(&chat), |body| assert!(body.contains("data: [DONE]"), "{body}")),
            Self::SeveralStream => {
                let body = json!({ "prompt": text, "max_tokens": max_tokens, "n": 2, "stream": true, "logprobs": 2 });
                asks("/v1/completions", body, |body| {
                    assert!(
                        body.matches("\"finish_reason\":\"").count() == 2 && body.contains("data: [DONE]"),
                        "{body}"
                    )
                })
            }
            Self::Responses => asks("/v1/responses", response, |body| {
                let status = &json_of(body)["status"];
                assert!(*status == "completed" || *status == "incomplete", "{body}");
            }),
            Self::ResponsesStream => asks("/v1/responses", streamed(&response), |body| {
                assert!(
                    body.contains("event: response.completed") || body.contains("event: response.incomplete"),
                    "{body}"
                )
            }),
            Self::Messages => {
                asks("/v1/messages", message, |body| assert!(json_of(body)["stop_reason"].is_string(), "{body}"))
            }
            Self::MessagesStream => {
                asks("/v1/messages", streamed(&message), |body| assert!(body.contains("event: message_stop"), "{body}"))
            }
            Self::Tools => {
                let tools = json!([{ "type": "function", "function": { "name": "paint", "parameters": schema() } }]);
                let body = json!({ "messages": [{ "role": "user", "content": "x" }], "tools": tools, "tool_choice": "required", "max_tokens": 300, "seed": seed });
                asks(CHAT, body, names_a_tool)
            }
            Self::Schema => {
                let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema() } });
                let body = with(&chat, "response_format", format);
                asks(CHAT, with(&body, "max_tokens", json!(200)), is_of_schema)
            }
            Self::Count => asks("/v1/messages/count_tokens", message, |body| {
                assert!(json_of(body)["input_tokens"].as_u64().unwrap() > 0, "{body}")
            }),
            Self::Tokens => asks("/tokenize", json!({ "prompt": text }), |body| {
                assert!(json_of(body)["tokens"].is_array(), "{body}")
            }),
            Self::Operation => {
                let paths = ["/metrics", "/health/live", "/health/ready", "/v1/models", "/openapi.json", "/"];
                let path = paths[draw.below(paths.len() as u64) as usize];
                let bytes = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes();
                let check = |body: &str| assert!(!body.is_empty());
                Asked { bytes, end: End::Read, statuses: &[200], check }
            }
            Self::Gone => {
                let (path, body) = [(CHAT, chat), ("/v1/responses", response), ("/v1/messages", message)]
                    [draw.below(3) as usize]
                    .clone();
                Asked { end: End::Vanish, ..asks(path, body, |_| {}) }
            }
            Self::GoneInTheMiddle => Asked { end: End::VanishInTheMiddle, ..asks("/v1/completions", endless, |_| {}) },
            Self::HalfHead => {
                let asked = asks(CHAT, chat, |_| {});
                Asked { bytes: asked.bytes[..20].to_vec(), end: End::Vanish, ..asked }
            }
            Self::HalfBody => {
                let asked = asks(CHAT, chat, |_| {});
                Asked { bytes: asked.bytes[..asked.bytes.len() - 9].to_vec(), end: End::Vanish, ..asked }
            }
            Self::Garbage => {
                let mut bytes: Vec<u8> = (0..200).map(|_| draw.below(256) as u8).collect();
                bytes.extend(b"\r\n\r\n");
                Asked { bytes, end: End::Vanish, statuses: &[], check: |_| {} }
            }
            Self::BrokenJson => {
                let text = streamed(&chat).to_string();
                let mut bytes = text.as_bytes()[..1 + draw.below(text.len() as u64 - 1) as usize].to_vec();
                if draw.below(2) == 0 {
                    bytes.push(0xff);
                }
                is_refused(CHAT, &bytes, &[400, 422])
            }
            Self::Deep => {
                let deep = "[".repeat(20_000);
                let body = format!("{{\"messages\": [], \"tools\": {deep}");
                is_refused(
                    ["/v1/messages", CHAT, "/v1/responses"][draw.below(3) as usize],
                    body.as_bytes(),
                    &[400, 422],
                )
            }
            Self::TooLong => {
                let body = with(&chat, "messages", json!([{ "role": "user", "content": "x".repeat(2000) }]));
                is_refused(CHAT, body.to_string().as_bytes(), &[400])
            }
            Self::TooLarge => is_refused("/v1/messages", &vec![b' '; MAX_BODY_BYTES + 1], &[413]),
            Self::TooMany => is_refused(CHAT, with(&chat, "n", json!(100)).to_string().as_bytes(), &[400]),
        }
    }
}
