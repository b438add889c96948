//! How likely tokens were; penalties and biases; several answers.

use crate::running_server::Server;
use crate::{CHAT, chat, events};
use serde_json::{Value, json};
use server::ServerOptions;

const COMPLETIONS: &str = "/v1/completions";

fn with(mut asked: Value, fields: Value) -> Value {
    asked.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    asked
}

fn completion(fields: Value) -> Value {
    with(json!({ "prompt": "<user>Where is it?<assistant>", "max_tokens": 12, "temperature": 0 }), fields)
}

fn streamed(server: &Server, path: &str, asked: Value) -> Vec<Value> {
    let fields = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (status, body) = server.post(path, with(asked, fields));
    assert_eq!(status, 200, "{body}");
    events(&body)
}

fn of_choice(events: &[Value], index: usize) -> impl Iterator<Item = &Value> {
    events.iter().filter_map(|event| event["choices"].get(0)).filter(move |choice| choice["index"] == index)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_chat_says_how_likely_its_tokens_were() {
    let server = Server::start(ServerOptions::default(), 4);
    let plain = server.post_json(CHAT, chat("Where is it?")).1;
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    for others in [0, 5, 20] {
        let asked = with(chat("Where is it?"), json!({ "logprobs": true, "top_logprobs": others }));
        let (status, whole) = server.post_json(CHAT, asked.clone());
        let choice = &whole["choices"][0];
        assert_eq!((status, &choice["message"]), (200, &plain["choices"][0]["message"]), "{whole}");
        let content = list(&choice["logprobs"]["content"]);
        assert_eq!(content.len(), 12);
        let mut bytes = Vec::new();
        for token in content {
            bytes.extend(list(&token["bytes"]).iter().map(|byte| byte.as_u64().unwrap() as u8));
            let likely = list(&token["top_logprobs"]);
            let logprobs: Vec<f64> = likely.iter().map(|token| token["logprob"].as_f64().unwrap()).collect();
            assert!(logprobs.len() == others && logprobs.is_sorted_by(|a, b| a >= b), "{logprobs:?}");
            assert!(logprobs.iter().map(|logprob| logprob.exp()).sum::<f64>() < 1.0 + 1e-9);
            // What is drawn greedily is the likeliest.
            assert!(
                likely.first().is_none_or(|first| ["token", "logprob", "bytes"].iter().all(|f| first[f] == token[f]))
            );
        }
        assert_eq!(choice["message"]["content"], json!(String::from_utf8_lossy(&bytes)));
        let events = streamed(&server, CHAT, asked);
        let told = of_choice(&events, 0).filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten();
        assert!(told.eq(content), "{events:?}");
    }
}

#[test]
fn a_completion_says_it_in_its_own_way() {
    let server = Server::start(ServerOptions::default(), 4);
    let chat = with(chat("Where is it?"), json!({ "logprobs": true }));
    let of_chat = server.post_json(CHAT, chat).1;
    let (status, whole) = server.post_json(COMPLETIONS, completion(json!({ "logprobs": 3 })));
    assert_eq!(status, 200, "{whole}");
    let (text, said) = (&whole["choices"][0]["text"], &whole["choices"][0]["logprobs"]);
    let wanted = list(&of_chat["choices"][0]["logprobs"]["content"]).iter().map(|token| &token["logprob"]);
    assert!(wanted.eq(list(&said["token_logprobs"])), "{said}");
    let characters = text.as_str().unwrap().chars().count() as u64;
    let offsets: Vec<u64> = list(&said["text_offset"]).iter().map(|offset| offset.as_u64().unwrap()).collect();
    assert!(offsets[0] == 0 && offsets.is_sorted() && offsets[11] < characters, "{offsets:?}");
    for (at, likely) in list(&said["top_logprobs"]).iter().enumerate() {
        let (token, likely) = (said["tokens"][at].as_str().unwrap(), likely.as_object().unwrap());
        assert_eq!((likely.len(), &likely[token]), (3, &said["token_logprobs"][at]));
    }
    let events = streamed(&server, COMPLETIONS, completion(json!({ "logprobs": 3 })));
    for field in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let told = of_choice(&events, 0).flat_map(|choice| list(&choice["logprobs"][field]));
        assert!(told.eq(list(&said[field])), "{field}");
    }
}

#[test]
fn several_answers_are_those_of_their_seeds_and_read_the_prompt_once() {
    let server = Server::start(ServerOptions::default(), 4);
    let long = "a long text ".repeat(40);
    let drawn = |seed: usize| with(chat(&long), json!({ "temperature": 1, "seed": seed }));
    let three = with(drawn(7), json!({ "n": 3, "logprobs": true }));
    let (status, whole) = server.post_json(CHAT, three.clone());
    assert_eq!(status, 200, "{whole}");
    let (_, metrics) = server.get("/metrics");
    let prompt = whole["usage"]["prompt_tokens"].as_u64().unwrap();
    let cached = metrics.lines().find_map(|line| line.strip_prefix("sparse_accelerate_cached_prompt_tokens_total "));
    // Seven full pages of 64 tokens, for the second answer and for the third.
    assert_eq!((prompt, cached), (497, Some("896")));
    let events = streamed(&server, CHAT, three);
    let mut tokens = 0;
    for (index, choice) in list(&whole["choices"]).iter().enumerate() {
        let alone = server.post_json(CHAT, drawn(7 + index)).1;
        tokens += alone["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!((&choice["index"], &choice["message"]), (&json!(index), &alone["choices"][0]["message"]));
        let said: String = of_choice(&events, index).filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(choice["message"]["content"], said);
        let last = of_choice(&events, index).last().unwrap();
        assert_eq!(last["finish_reason"], choice["finish_reason"]);
        let told = of_choice(&events, index).filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten();
        assert!(told.eq(list(&choice["logprobs"]["content"])));
    }
    assert_eq!(list(&whole["choices"]).len(), 3);
    for usage in [&whole["usage"], &events.last().unwrap()["usage"]] {
        assert_eq!((&usage["completion_tokens"], &usage["prompt_tokens"]), (&json!(tokens), &json!(prompt)));
    }
}

#[test]
fn penalties_and_biases_change_what_is_drawn() {
    let server = Server::start(ServerOptions::default(), 4);
    let text = |fields: Value| server.post_json(COMPLETIONS, completion(fields)).1["choices"][0]["text"].clone();
    let plain = text(json!({}));
    let none = json!({ "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {} });
    assert_eq!(text(none), plain);
    let tokenized = server.post_json("/tokenize", json!({ "prompt": "A" })).1;
    let id = tokenized["tokens"][0].to_string();
    assert_eq!(text(json!({ "logit_bias": { &id: 100 } })), "A".repeat(12));
    // Each time takes 2 off, the first 4: after 50 nothing is left of the bias.
    let both = json!({ "logit_bias": { &id: 100 }, "frequency_penalty": 2, "presence_penalty": 2, "max_tokens": 100 });
    assert_ne!(text(both), "A".repeat(100));
}

#[test]
fn what_is_out_of_range_is_said_in_the_words_of_openai() {
    let server = Server::start(ServerOptions { max_requests: 8, ..ServerOptions::default() }, 4);
    let of_chat = |fields: Value| (CHAT, with(chat("x"), fields));
    let of_completion = |fields: Value| (COMPLETIONS, completion(fields));
    for ((path, asked), param, code, says) in [
        (
            of_chat(json!({ "frequency_penalty": 2.5 })),
            "frequency_penalty",
            json!("decimal_above_max_value"),
            "Invalid 'frequency_penalty': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
        ),
        (
            of_completion(json!({ "presence_penalty": -3 })),
            "presence_penalty",
            json!("decimal_below_min_value"),
            "Invalid 'presence_penalty': decimal below minimum value. Expected a value >= -2, but got -3 instead.",
        ),
        (
            of_chat(json!({ "n": 0 })),
            "n",
            json!("integer_below_min_value"),
            "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (of_chat(json!({ "n": 129 })), "n", json!("integer_above_max_value"), "Expected a value <= 128"),
        (of_chat(json!({ "n": 9 })), "n", Value::Null, "at most 8 answers"),
        (
            of_chat(json!({ "logprobs": true, "top_logprobs": 21 })),
            "top_logprobs",
            json!("integer_above_max_value"),
            "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21 instead.",
        ),
        (
            of_chat(json!({ "logprobs": true, "top_logprobs": -1 })),
            "top_logprobs",
            json!("integer_below_min_value"),
            ">= 0",
        ),
        (of_chat(json!({ "top_logprobs": 2 })), "top_logprobs", Value::Null, "only allowed when 'logprobs' is enabled"),
        (of_chat(json!({ "logprobs": 3 })), "logprobs", Value::Null, "expected `true` or `false`"),
        (of_completion(json!({ "logprobs": 6 })), "logprobs", json!("integer_above_max_value"), "<= 5, but got 6"),
        (of_completion(json!({ "logprobs": true })), "logprobs", Value::Null, "expected an integer"),
        (of_completion(json!({ "top_logprobs": 1 })), "top_logprobs", Value::Null, "is for chats"),
        (
            of_chat(json!({ "logit_bias": { "1": 101 } })),
            "logit_bias",
            json!("decimal_above_max_value"),
            "<= 100, but got 101",
        ),
        (
            of_chat(json!({ "logit_bias": { "a": 1 } })),
            "logit_bias",
            Value::Null,
            "Invalid key in 'logit_bias': a. You should only be submitting non-negative integers.",
        ),
        (of_chat(json!({ "logit_bias": { "257": 1 } })), "logit_bias", Value::Null, "Maximum value is 256."),
    ] {
        for stream in [false, true] {
            let (status, body) = server.post_json(path, with(asked.clone(), json!({ "stream": stream })));
            let error = &body["error"];
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{body}");
            assert_eq!((status, &error["param"], &error["code"]), (400, &json!(param), &code), "{body}");
        }
    }
    // All places are free again.
    assert_eq!(server.post(CHAT, with(chat("x"), json!({ "n": 8 }))).0, 200);
}
