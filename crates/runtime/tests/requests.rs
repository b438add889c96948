//! Where answers end, and how long prompts may be: on a tiny random model whose every token is a letter.

use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::request::{Device, Event, FinishReason, Request};
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const PROMPT: [u32; 5] = [5, 6, 7, 8, 9];

/// The engine, with a special token in place of a letter, an end token, and a context of the caller's.
fn engine(special: Option<u32>, eos: Option<u32>, context: Option<usize>) -> Result<Engine, EngineError> {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny/qwen2"));
    let folder = tempfile::tempdir().unwrap();
    fs::copy(source.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(source.join("config.json")).unwrap()).unwrap();
    config["eos_token_id"] = json!(eos);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let vocabulary: serde_json::Map<_, _> = (0..100).map(|id| (letter(id), json!(id))).collect();
    let added = special.map(|id| {
        json!({"id": id, "content": letter(id), "special": true, "normalized": false, "lstrip": false, "rstrip": false,
            "single_word": false})
    });
    let tokenizer = json!({"version": "1.0", "added_tokens": added.into_iter().collect::<Vec<_>>(),
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}});
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let options =
        EngineOptions { device: Device::Cpu, threads: 1, chunk_tokens: Some(64), context, ..EngineOptions::default() };
    Engine::load(folder.path().to_str().expect("UTF-8"), &options, &mut |_| {})
}

/// A visible letter of ASCII, or two where there are no more.
fn letter(id: u32) -> String {
    let letter = char::from(b'!' + (id % 94) as u8).to_string();
    letter.repeat(1 + id as usize / 94)
}

/// The answer, after a check that its events join to it.
fn answer(engine: &mut Engine, stop: &[&str], stop_at_eos: bool) -> (String, Vec<u32>) {
    let stop = stop.iter().map(|stop| stop.to_string()).collect();
    let request = Request { max_tokens: 24, stop, stop_at_eos, ..Request::default() };
    let (mut heard, mut chosen) = (String::new(), Vec::new());
    let mut hear = |event: Event| {
        match event {
            Event::Text(text) => heard += text,
            Event::Chosen(token) => chosen.push(token),
            Event::Token(_) | Event::Prefill { .. } | Event::Layer { .. } => {}
        }
        ControlFlow::Continue(())
    };
    let generation = engine.generate(&PROMPT, &request, &mut hear).unwrap();
    assert_eq!((&heard, &chosen), (&generation.text, &generation.tokens));
    (generation.text, generation.tokens)
}

#[test]
fn answers_end_at_stop_texts_and_end_tokens() {
    let mut plain = engine(None, None, None).unwrap();
    let (whole, tokens) = answer(&mut plain, &[], true);
    assert!(tokens.len() == 24 && whole.len() >= 24, "{whole}");
    for range in [0..1, 3..5, 4..9, 20..24] {
        let stop = &whole[range];
        let wanted = &whole[..whole.find(stop).unwrap()];
        assert_eq!(answer(&mut plain, &[stop], true).0, wanted, "{stop}");
        assert_eq!(answer(&mut plain, &["no such text", stop], true).0, wanted, "{stop}");
    }
    // A stop text that begins and does not end is part of the answer.
    let begun = format!("{}\u{1f44d}", &whole[22..]);
    assert_eq!(answer(&mut plain, &[&begun, ""], true), (whole.clone(), tokens.clone()));

    // A token that is not the first: it may be the end token, or a special token that a stop text names.
    let end = *tokens.iter().find(|token| **token != tokens[0]).expect("two different tokens");
    let before = tokens.iter().position(|token| *token == end).unwrap();
    let mut ending = engine(None, Some(end), None).unwrap();
    assert_eq!(answer(&mut ending, &[], true).1, tokens[..before]);
    assert_eq!(answer(&mut ending, &[], false).1, tokens);
    let mut special = engine(Some(end), None, None).unwrap();
    assert_eq!(answer(&mut special, &[], true).1, tokens);
    assert_eq!(answer(&mut special, &[&letter(end)], true).1, tokens[..before]);
}

#[test]
fn answers_say_why_they_end() {
    let reason = |engine: &mut Engine, stop: &[&str], wanted: usize| {
        let stop = stop.iter().map(|stop| stop.to_string()).collect();
        let request = Request { max_tokens: 24, stop, ..Request::default() };
        let mut heard = 0;
        let mut hear = |event: Event| {
            heard += usize::from(matches!(event, Event::Text(_)));
            if heard >= wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        engine.generate(&PROMPT, &request, &mut hear).unwrap()
    };
    let mut plain = engine(None, None, None).unwrap();
    let whole = reason(&mut plain, &[], usize::MAX);
    assert_eq!((whole.finish_reason, whole.tokens.len()), (FinishReason::Length, 24));
    assert_eq!(reason(&mut plain, &[&whole.text[3..5]], usize::MAX).finish_reason, FinishReason::Stop);
    let end = *whole.tokens.iter().find(|token| **token != whole.tokens[0]).expect("two different tokens");
    let mut ending = engine(None, Some(end), None).unwrap();
    assert_eq!(reason(&mut ending, &[], usize::MAX).finish_reason, FinishReason::End);
    let mut special = engine(Some(end), None, None).unwrap();
    assert_eq!(reason(&mut special, &[&letter(end)], usize::MAX).finish_reason, FinishReason::Stop);
    // Whoever has heard enough gets what there was; one who breaks at once gets no token.
    let cut = reason(&mut plain, &[], 3);
    assert_eq!((cut.finish_reason, &cut.tokens[..]), (FinishReason::Cancelled, &whole.tokens[..3]));
    let none = reason(&mut plain, &[], 0);
    assert_eq!((none.finish_reason, none.tokens.len(), none.text.as_str()), (FinishReason::Cancelled, 0, ""));
}

#[test]
fn a_prompt_is_left_between_its_chunks() {
    let mut engine = engine(None, None, None).unwrap();
    let mut done = Vec::new();
    let mut hear = |event: Event| {
        match event {
            Event::Prefill { done_tokens, .. } => done.push(done_tokens),
            Event::Layer { .. } => {}
            Event::Text(_) | Event::Chosen(_) | Event::Token(_) => panic!("no text was wanted"),
        }
        if done.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let request = Request { max_tokens: 1, ..Request::default() };
    let generation = engine.generate(&[7; 500], &request, &mut hear).unwrap();
    assert_eq!((generation.finish_reason, generation.tokens.len()), (FinishReason::Cancelled, 0));
    assert_eq!(done, [64, 128]);
}

#[test]
fn every_layer_of_every_chunk_is_heard() {
    let mut engine = engine(None, None, None).unwrap();
    let layers = engine.config().num_layers;
    let mut heard = Vec::new();
    let mut hear = |event: Event| {
        match event {
            Event::Layer { done_layers, layers, done_tokens, chunk_tokens } => {
                heard.push((done_tokens, chunk_tokens, done_layers, layers))
            }
            Event::Prefill { done_tokens, .. } => heard.push((done_tokens, 0, 0, 0)),
            Event::Text(_) | Event::Chosen(_) | Event::Token(_) => {}
        }
        // Enough in the middle of the second chunk: no other layer is done, and nothing more is said.
        if heard.len() == layers + 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let request = Request { max_tokens: 3, ..Request::default() };
    let generation = engine.generate(&[7; 150], &request, &mut hear).unwrap();
    let mut expected: Vec<_> = (0..=layers).map(|done| (0, 64, done, layers)).collect();
    expected.extend([(64, 0, 0, 0), (64, 64, 0, layers), (64, 64, 1, layers)]);
    assert_eq!(heard, expected);
    assert_eq!((generation.finish_reason, generation.tokens.len()), (FinishReason::Cancelled, 0));

    // To the end, the chunk behind the others included; single new tokens are no chunk.
    let mut count = 0;
    let mut hear = |event: Event| {
        count += usize::from(matches!(event, Event::Layer { .. }));
        ControlFlow::Continue(())
    };
    engine.generate(&[7; 150], &request, &mut hear).unwrap();
    assert_eq!(count, 3 * (layers + 1));
}

#[test]
fn the_context_is_what_the_caller_says() {
    let generate = |context: Option<usize>, len: usize| {
        let mut engine = engine(None, None, context).unwrap();
        assert_eq!((engine.own_context(), engine.config().max_context), (512, context.unwrap_or(512)));
        let request = Request { max_tokens: 1, ..Request::default() };
        engine
            .generate(&vec![7; len], &request, &mut |_| ControlFlow::Continue(()))
            .map(|generation| generation.stats.prompt_tokens)
    };
    assert!(matches!(generate(None, 513), Err(EngineError::Context { max_context: 512, .. })));
    assert_eq!(generate(Some(600), 600).unwrap(), 600);
    assert!(matches!(generate(Some(8), 9), Err(EngineError::Context { max_context: 8, .. })));
    assert_eq!(generate(Some(8), 8).unwrap(), 8);
    assert!(engine(None, None, Some(0)).is_err());
}
