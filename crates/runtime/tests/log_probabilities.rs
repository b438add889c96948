//! How likely tokens were, penalties, and several answers to one prompt: on a tiny random model whose tokens are bytes.

mod small_model;

use runtime::engine::service::{Heard, Service, ServiceOptions};
use runtime::engine::{Engine, EngineOptions};
use runtime::log_probabilities::SaidToken;
use runtime::request::{Device, Event, FinishReason, Generation, Request};
use runtime::sampling::Sampling;
use serde_json::json;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn engine() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    small_model::write_with(folder.path(), json!({ "max_position_embeddings": 2048 }));
    let options = EngineOptions { device: Device::Cpu, threads: 1, chunk_tokens: Some(64), ..EngineOptions::default() };
    Engine::load(folder.path().to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap()
}

fn prompt(len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 37 + 11) % 256).collect()
}

fn greedy(max_tokens: usize) -> Request {
    Request { max_tokens, stop_at_eos: false, ..Request::default() }
}

/// The answer, after a check that what was heard is what it says.
fn answer(engine: &mut Engine, request: &Request) -> Generation {
    let (mut heard, mut text) = (Vec::<SaidToken>::new(), String::new());
    let mut hear = |event: Event| {
        match event {
            Event::Token(token) => heard.push(token.clone()),
            Event::Text(piece) => text += piece,
            Event::Chosen(_) | Event::Prefill { .. } | Event::Layer { .. } => {}
        }
        ControlFlow::Continue(())
    };
    let generation = engine.generate(&prompt(30), request, &mut hear).unwrap();
    assert_eq!((&heard, &text), (&generation.said_tokens, &generation.text));
    generation
}

#[test]
fn every_token_says_how_likely_it_was() {
    let mut engine = engine();
    let plain = answer(&mut engine, &greedy(24));
    assert!(plain.said_tokens.is_empty());
    for others in [0, 1, 20] {
        let said = answer(&mut engine, &Request { log_probabilities: Some(others), ..greedy(24) });
        assert_eq!((&said.tokens, &said.text), (&plain.tokens, &plain.text));
        assert!(said.said_tokens.iter().map(|said| said.token.id).eq(plain.tokens.iter().copied()));
        for place in &said.said_tokens {
            let likely = &place.most_likely;
            assert_eq!(likely.len(), others);
            assert!(likely.is_sorted_by(|a, b| a.log_probability >= b.log_probability));
            assert!(likely.first().is_none_or(|first| *first == place.token));
        }
    }
    // Of the whole vocabulary they are 1 together.
    let vocab_size = engine.config().vocab_size;
    for place in answer(&mut engine, &Request { log_probabilities: Some(vocab_size), ..greedy(4) }).said_tokens {
        let sum: f64 = place.most_likely.iter().map(|token| token.log_probability.exp()).sum();
        assert!(place.most_likely.len() == vocab_size && (sum - 1.0).abs() < 1e-9, "{sum}");
    }
}

#[test]
fn they_are_the_logarithms_that_a_text_is_rated_by() {
    let mut engine = engine();
    let said = answer(&mut engine, &Request { log_probabilities: Some(0), ..greedy(8) });
    let text = [prompt(30), said.tokens.clone()].concat();
    let (nll, _) = engine.tail_nll(&text, 8, &greedy(1)).unwrap();
    for (place, nll) in said.said_tokens.iter().zip(nll) {
        // A prompt is read in bf16 where an answer is written in f32.
        assert!((place.token.log_probability + nll).abs() < 2e-2, "{} {nll}", place.token.log_probability);
    }
}

#[test]
fn tokens_of_a_stop_text_are_not_said() {
    let mut engine = engine();
    let whole = answer(&mut engine, &Request { log_probabilities: Some(0), ..greedy(24) });
    let characters: Vec<char> = whole.text.chars().collect();
    let stop: String = characters[characters.len() / 2..][..2].iter().collect();
    let stopped = answer(&mut engine, &Request { log_probabilities: Some(0), stop: vec![stop.clone()], ..greedy(24) });
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    let written = whole.text.find(&stop).map(|at| whole.text[..at].chars().count()).unwrap();
    let wanted = whole.said_tokens.iter().take_while(|said| said.text_offset < written).count();
    assert_eq!(stopped.said_tokens, whole.said_tokens[..wanted]);
    assert!(stopped.tokens.len() > wanted);
}

#[test]
fn penalties_and_biases_change_answers_and_none_changes_nothing() {
    let mut engine = engine();
    let plain = answer(&mut engine, &greedy(40));
    let most = |generation: &Generation| {
        let mut counts = HashMap::<u32, usize>::new();
        generation.tokens.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
        counts.into_values().max().unwrap()
    };
    let zero = Request { frequency_penalty: 0.0, presence_penalty: 0.0, ..greedy(40) };
    assert_eq!(answer(&mut engine, &zero).tokens, plain.tokens);
    let penalised = answer(&mut engine, &Request { frequency_penalty: 2.0, presence_penalty: 2.0, ..greedy(40) });
    let favoured = answer(&mut engine, &Request { frequency_penalty: -2.0, ..greedy(40) });
    assert!(most(&penalised) <= most(&plain) && most(&favoured) > most(&penalised), "{}", most(&favoured));
    let biased =
        answer(&mut engine, &Request { logit_bias: [(65, 100.0)].into(), log_probabilities: Some(1), ..greedy(6) });
    assert_eq!(biased.tokens, [65; 6]);
    // The model's own opinion is another.
    assert!(biased.said_tokens.iter().all(|said| said.token.log_probability < said.most_likely[0].log_probability));
    let first = plain.tokens[0];
    let banned = answer(&mut engine, &Request { logit_bias: [(first, -100.0)].into(), ..greedy(40) });
    assert!(!banned.tokens.contains(&first));
    for wrong in [
        Request { logit_bias: [(100_000, 1.0)].into(), ..greedy(1) },
        Request { logit_bias: [(0, 101.0)].into(), ..greedy(1) },
        Request { presence_penalty: 2.5, ..greedy(1) },
    ] {
        assert!(engine.generate(&prompt(3), &wrong, &mut |_| ControlFlow::Continue(())).is_err());
    }
}

fn heard() -> (impl FnMut(Heard) -> ControlFlow<()> + Send + 'static, Receiver<Generation>) {
    let (sender, receiver) = channel();
    let hear = move |heard: Heard| {
        if let Heard::Ended(ended) = heard {
            sender.send(ended.unwrap()).unwrap();
        }
        ControlFlow::Continue(())
    };
    (hear, receiver)
}

#[test]
fn who_comes_behind_shares_the_prompt() {
    let (mut alone, service) = (engine(), Service::start(engine(), ServiceOptions::default()));
    let drawn = |seed| Request {
        sampling: Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed },
        ..greedy(9)
    };
    let prompt = prompt(700);
    let (hear, first) = heard();
    let ticket = service.submit(prompt.clone(), drawn(0), hear);
    let others = [1, 2, 3].map(|seed| {
        let (hear, said) = heard();
        service.submit_behind(&ticket, prompt.clone(), drawn(seed), hear);
        said
    });
    for (seed, said) in (0..).zip([first].iter().chain(&others)) {
        let generation = said.recv_timeout(Duration::from_secs(60)).unwrap();
        let wanted = alone.generate(&prompt, &drawn(seed), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(generation.tokens, wanted.tokens, "{seed}");
        // Ten full pages of 64 tokens.
        assert_eq!(generation.stats.cached_tokens, if seed == 0 { 0 } else { 640 });
    }
}

#[test]
fn who_comes_behind_a_cancelled_one_is_answered_and_holds_up_nobody() {
    let service = Service::start(engine(), ServiceOptions { max_running: 1, ..ServiceOptions::default() });
    let (hear, first) = heard();
    let ticket = service.submit(prompt(1500), greedy(400), hear);
    let (hear, behind) = heard();
    service.submit_behind(&ticket, prompt(1500), greedy(4), hear);
    let (hear, other) = heard();
    service.submit(prompt(20), greedy(4), hear);
    ticket.cancel();
    let end = |said: &Receiver<Generation>| said.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(end(&first).finish_reason, FinishReason::Cancelled);
    assert_eq!((end(&behind).tokens.len(), end(&other).tokens.len()), (4, 4));
}
