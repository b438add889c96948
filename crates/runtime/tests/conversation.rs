//! Conversations: what was read is not read again, and makes no difference. On tiny random models, on every device there is.

mod small_model;

use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::request::{AttentionMode, Device, Event, FinishReason, Request};
use runtime::weights::RandomWeights;
use serde_json::json;
use std::ops::ControlFlow;

fn engine(device: Device, rope_scaling: serde_json::Value) -> Option<Engine> {
    let folder = tempfile::tempdir().unwrap();
    small_model::write_with(folder.path(), json!({ "max_position_embeddings": 512, "rope_scaling": rope_scaling }));
    let options = EngineOptions { device, threads: 1, chunk_tokens: Some(64), ..EngineOptions::default() };
    small_model::load(folder.path(), &options)
}

/// Ids of bytes.
fn turn(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + seed * 11 + i * i * seed) % 256).collect()
}

fn request(attention: AttentionMode) -> Request {
    Request { max_tokens: 8, attention, stop_at_eos: false, ..Request::default() }
}

fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn answers_are_those_of_the_whole_prompt() {
    for device in [Device::Cpu, Device::Cuda(0)] {
        let Some(mut engine) = engine(device, json!(null)) else { continue };
        for attention in [AttentionMode::Dense, AttentionMode::Auto] {
            let request = request(attention);
            let mut prompts = Vec::new();
            {
                let mut conversation = engine.conversation().unwrap();
                let mut ids = Vec::new();
                for (seed, len) in [(1, 70), (2, 3), (3, 130), (4, 1)] {
                    ids.extend(turn(seed, len));
                    let answer = conversation.answer(&ids, &request, &mut go_on).unwrap();
                    let before = prompts.last().map_or(0, |(before, _): &(Vec<u32>, Vec<u32>)| before.len() + 7);
                    assert_eq!(answer.stats.cached_tokens, before, "of {} tokens", ids.len());
                    assert_eq!(answer.stats.prompt_tokens, ids.len());
                    prompts.push((ids.clone(), answer.tokens.clone()));
                    ids.extend(&answer.tokens);
                }
                // Another end of the second turn: what is behind the common beginning goes.
                let mut other = prompts[0].0.clone();
                other.extend(turn(9, 30));
                let answer = conversation.answer(&other, &request, &mut go_on).unwrap();
                assert_eq!(answer.stats.cached_tokens, prompts[0].0.len());
                prompts.push((other.clone(), answer.tokens));
                // The same again: one token has to go through.
                let again = conversation.answer(&other, &request, &mut go_on).unwrap();
                assert_eq!(again.stats.cached_tokens, other.len() - 1);
                conversation.reset();
                assert_eq!(conversation.answer(&other, &request, &mut go_on).unwrap().stats.cached_tokens, 0);
            }
            for (ids, tokens) in prompts {
                let alone = engine.generate(&ids, &request, &mut go_on).unwrap();
                assert_eq!(alone.tokens, tokens, "{attention}, {} tokens", ids.len());
            }
        }
    }
}

#[test]
fn a_prefill_that_was_cut_goes_on() {
    let mut engine = engine(Device::Cpu, json!(null)).unwrap();
    let (ids, request) = (turn(5, 300), request(AttentionMode::Dense));
    let expected = engine.generate(&ids, &request, &mut go_on).unwrap().tokens;
    let mut conversation = engine.conversation().unwrap();
    let mut cut = |event: Event| match event {
        Event::Prefill { done_tokens: 128.., .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let answer = conversation.answer(&ids, &request, &mut cut).unwrap();
    assert_eq!((answer.finish_reason, answer.tokens.len()), (FinishReason::Cancelled, 0));
    let answer = conversation.answer(&ids, &request, &mut go_on).unwrap();
    assert_eq!((answer.stats.cached_tokens, answer.tokens), (128, expected));
}

/// Within a chunk, of which the cache then holds nothing, whatever its first layers had.
#[test]
fn a_prefill_that_was_cut_between_layers_goes_on_behind_the_chunk_before() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 512, "max_position_embeddings": 512});
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let options = EngineOptions {
        device: Device::Cpu,
        threads: 1,
        chunk_tokens: Some(64),
        random_weights: Some(RandomWeights::Bf16),
        ..EngineOptions::default()
    };
    let mut engine = Engine::load(folder.path().to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap();
    let ids = turn(5, 300);
    for attention in [AttentionMode::Dense, AttentionMode::Sparse] {
        let request = request(attention);
        let expected = engine.generate(&ids, &request, &mut go_on).unwrap().tokens;
        // At the first chunk's start, behind its first layer, in the third chunk.
        for (layer, tokens) in [(0, 0), (1, 0), (1, 128)] {
            let mut conversation = engine.conversation().unwrap();
            let mut layers_since = 0;
            let mut cut = |event: Event| match event {
                Event::Layer { done_layers, done_tokens, .. } if (done_layers, done_tokens) == (layer, tokens) => {
                    layers_since += 1;
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            };
            let answer = conversation.answer(&ids, &request, &mut cut).unwrap();
            assert_eq!((answer.finish_reason, answer.tokens.len(), layers_since), (FinishReason::Cancelled, 0, 1));
            let shares = [Some(answer.stats.density), answer.stats.recall, answer.stats.predicted_cost];
            assert!(shares.into_iter().flatten().all(f64::is_finite), "{shares:?}");
            let answer = conversation.answer(&ids, &request, &mut go_on).unwrap();
            assert_eq!(
                (answer.stats.cached_tokens, answer.tokens),
                (tokens, expected.clone()),
                "{attention}, layer {layer}"
            );
        }
    }
}

#[test]
fn prompts_that_rotate_otherwise_are_read_anew() {
    let dynamic = json!({"rope_type": "dynamic", "factor": 4.0});
    let mut engine = engine(Device::Cpu, dynamic).unwrap();
    let own = engine.config().max_context / 4;
    let request = request(AttentionMode::Dense);
    let short = turn(6, own - 20);
    let long = [&short[..], &turn(7, 40)].concat();
    let expected = engine.generate(&long, &request, &mut go_on).unwrap().tokens;
    let mut conversation = engine.conversation().unwrap();
    conversation.answer(&short, &request, &mut go_on).unwrap();
    let answer = conversation.answer(&long, &request, &mut go_on).unwrap();
    assert_eq!((answer.stats.cached_tokens, answer.tokens), (0, expected));
}

#[test]
fn what_is_refused_leaves_what_was_read() {
    let engine = engine(Device::Cpu, json!(null)).unwrap();
    let request = request(AttentionMode::Dense);
    let mut conversation = engine.conversation().unwrap();
    let ids = turn(8, 100);
    conversation.answer(&ids, &request, &mut go_on).unwrap();
    assert!(matches!(conversation.answer(&[], &request, &mut go_on), Err(EngineError::EmptyPrompt)));
    let too_long = vec![1; conversation.capacity()];
    assert_eq!(conversation.room_for_new_tokens(too_long.len()), 1);
    assert!(matches!(conversation.answer(&too_long, &request, &mut go_on), Err(EngineError::Context { .. })));
    assert!(matches!(conversation.answer(&[1, 1 << 30], &request, &mut go_on), Err(EngineError::Token { .. })));
    assert_eq!(conversation.answer(&ids, &request, &mut go_on).unwrap().stats.cached_tokens, 99);
}
