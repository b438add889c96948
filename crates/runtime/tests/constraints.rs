//! Answers within constraints: whatever a model without training would rather say, what ends is what was asked for.

mod random_schemas;
mod small_model;

use runtime::constraint::{Constraint, ConstraintError};
use runtime::engine::service::{Heard, Service, ServiceOptions};
use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::request::{Device, FinishReason, Generation, Request};
use runtime::sampling::Sampling;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const PROMPT: &[u32] = &[40, 41, 42, 43];

fn engine(device: Device) -> Option<Engine> {
    let folder = tempfile::tempdir().unwrap();
    small_model::write_with(folder.path(), json!({ "max_position_embeddings": 2048 }));
    let options = EngineOptions { device, threads: 1, chunk_tokens: Some(64), ..EngineOptions::default() };
    small_model::load(folder.path(), &options)
}

fn request(engine: &Engine, constraint: &Constraint, seed: u64) -> Result<Request, EngineError> {
    let sampling = Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed };
    // What ends an answer elsewhere is not asked here: the constraint is.
    let constraint = Some(engine.constrain(constraint)?);
    Ok(Request { max_tokens: 600, sampling, stop_at_eos: false, constraint, ..Request::default() })
}

fn answer(engine: &mut Engine, constraint: &Constraint, seed: u64) -> Generation {
    let request = request(engine, constraint, seed).unwrap_or_else(|error| panic!("{constraint:?}: {error}"));
    engine.generate(PROMPT, &request, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn what_ends_is_valid_by_200_random_schemas() {
    for (device, schemas) in [(Device::Cpu, 200), (Device::Cuda(0), 20)] {
        let Some(mut engine) = engine(device) else { continue };
        let mut ended = 0;
        for seed in 0..schemas {
            let schema = random_schemas::schema(seed);
            let validator = jsonschema::validator_for(&schema).unwrap();
            let generation = answer(&mut engine, &Constraint::JsonSchema(schema.clone()), seed);
            if generation.finish_reason == FinishReason::Length {
                continue;
            }
            assert_eq!(generation.finish_reason, FinishReason::End);
            ended += 1;
            let value: Value = serde_json::from_str(&generation.text)
                .unwrap_or_else(|error| panic!("{error}: {}\n{schema}", generation.text));
            assert!(validator.is_valid(&value), "{value}\n{schema}");
        }
        eprintln!("{ended} of {schemas} answers ended on {device}");
        assert!(ended * 10 >= schemas * 9, "{ended} of {schemas} ended");
    }
}

#[test]
fn what_ends_matches_its_expression_or_grammar() {
    let mut engine = engine(Device::Cpu).unwrap();
    let list = "start: item (\", \" item)*\nitem: /[a-c]+/ | \"(\" start \")\"";
    for (constraint, is_right) in [
        (
            Constraint::Regex("[0-9]{3}-[a-f]{2}".into()),
            (|text| text.len() == 6 && &text[3..4] == "-") as fn(&str) -> bool,
        ),
        (Constraint::Regex("(ja|nein|für){1,3}".into()), |text| {
            text.replace("ja", "").replace("nein", "").replace("für", "").is_empty() && !text.is_empty()
        }),
        (Constraint::Regex("a{0,4}".into()), |text| text.len() <= 4 && text.chars().all(|c| c == 'a')),
        (Constraint::Grammar(list.into()), |text| {
            text.matches('(').count() == text.matches(')').count() && text.chars().all(|c| "abc(), ".contains(c))
        }),
        (Constraint::JsonObject, |text| {
            // Numbers of JSON may be larger than any of Rust's.
            text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        }),
    ] {
        let mut ended = 0;
        for seed in 0..20 {
            let generation = answer(&mut engine, &constraint, seed);
            let Generation { text, finish_reason, .. } = generation;
            if finish_reason == FinishReason::End {
                assert!(is_right(&text), "{constraint:?}: {text}");
                ended += 1;
            }
        }
        assert!(ended > 0, "{constraint:?} never ended");
    }
}

#[test]
fn what_is_no_constraint_is_said_and_what_takes_too_much_is_refused() {
    let engine = engine(Device::Cpu).unwrap();
    let deep = "(".repeat(60_000);
    let rules: String = (0..1000).map(|n| format!("a{n}: a{}\n", n + 1)).collect();
    let many: Vec<Value> =
        (0..40).map(|n| json!({ "anyOf": [{ "minimum": n }, { "maximum": n }, { "minLength": n }] })).collect();
    let chain: serde_json::Map<String, Value> =
        (0..8000).map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }))).collect();
    for (constraint, says) in [
        (
            Constraint::JsonSchema(json!({ "type": "objekt" })),
            "the JSON schema cannot be compiled: Invalid type: objekt",
        ),
        (Constraint::JsonSchema(json!({ "type": "string", "minLength": "x" })), "minLength"),
        (Constraint::JsonSchema(json!({ "not": { "type": "string" } })), "not"),
        (Constraint::JsonSchema(json!(7)), "the JSON schema cannot be compiled"),
        (Constraint::JsonSchema(json!({ "$ref": "https://example.org/schema" })), "$ref"),
        (Constraint::JsonSchema(json!({ "enum": ["x".repeat(2 << 20)] })), "bytes: expected 262144 at most"),
        (Constraint::JsonSchema(json!({ "allOf": many })), "the JSON schema"),
        (Constraint::JsonSchema(json!({ "$ref": "#/$defs/d0", "$defs": chain })), "the JSON schema"),
        (Constraint::Regex("[a-".into()), "the regular expression cannot be compiled"),
        (Constraint::Regex(deep.clone()), "the regular expression cannot be compiled"),
        (Constraint::Grammar("start: nobody".into()), "nobody"),
        (Constraint::Grammar(format!("start: {deep}")), "the grammar cannot be compiled"),
        (Constraint::Grammar(format!("start: {deep}\"a\"{}", ")".repeat(5000))), "the grammar cannot be compiled"),
        (Constraint::Grammar(format!("start: a0\n{rules}")), "a1000"),
        (Constraint::Grammar("start: start".into()), "no text matches it"),
        (Constraint::Grammar("start: \"a\"".repeat(30_000)), "bytes: expected 262144 at most"),
    ] {
        let since = Instant::now();
        let message = engine.constrain(&constraint).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(says) && message.len() < 3000, "{message}");
        assert!(since.elapsed() < Duration::from_secs(8), "{message}: {:?}", since.elapsed());
    }
    let other = self::engine(Device::Cpu).unwrap();
    let compiled = other.constrain(&Constraint::JsonObject).unwrap();
    let request = Request { constraint: Some(compiled), ..Request::default() };
    let mut engine = engine;
    let error = engine.generate(PROMPT, &request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, EngineError::Constraint(ConstraintError::OtherEngine { .. })), "{error}");
}

#[test]
fn an_expression_that_would_hold_the_engine_up_ends_in_an_answer_or_an_error() {
    let mut engine = engine(Device::Cpu).unwrap();
    for text in
        ["((a{0,500}){0,500}){0,500}", "(?s:.*[a-m].{300}[n-z].*)", "((a?){100}(b?){100}){100}", "(?i:(.*x.*){40})"]
    {
        let since = Instant::now();
        let ended = request(&engine, &Constraint::Regex(text.into()), 5).and_then(|request| {
            engine.generate(PROMPT, &Request { max_tokens: 100, ..request }, &mut |_| ControlFlow::Continue(()))
        });
        let took = since.elapsed();
        eprintln!("{text}: {took:?}, {:?}", ended.as_ref().map(|answer| answer.finish_reason));
        assert!(took < Duration::from_secs(10), "{text}: {took:?}");
        assert!(matches!(ended, Ok(_) | Err(EngineError::Constraint(_))), "{text}: {ended:?}");
    }
}

#[test]
fn answers_without_one_are_the_same_beside_constrained_ones() {
    let mut alone = engine(Device::Cpu).unwrap();
    let free = Request { max_tokens: 40, ..Request::default() };
    let wanted = alone.generate(PROMPT, &free, &mut |_| ControlFlow::Continue(())).unwrap();
    let engine = engine(Device::Cpu).unwrap();
    let constrained = request(&engine, &Constraint::JsonObject, 1).unwrap();
    let service = Service::start(engine, ServiceOptions::default());
    let (send, received) = channel();
    for (free_one, request) in [(false, constrained.clone()), (true, free), (false, constrained)] {
        let send = send.clone();
        service.submit(PROMPT.to_vec(), request, move |heard| {
            if let Heard::Ended(ended) = heard {
                send.send((free_one, ended.unwrap())).unwrap();
            }
            ControlFlow::Continue(())
        });
    }
    service.finish();
    let (free, led): (Vec<_>, Vec<_>) = received.try_iter().partition(|(free_one, _)| *free_one);
    assert_eq!((&free[0].1.tokens, &free[0].1.text), (&wanted.tokens, &wanted.text));
    assert_eq!((led.len(), &led[0].1.tokens), (2, &led[1].1.tokens));
    assert!(led[0].1.text.starts_with('{'), "{}", led[0].1.text);
}
