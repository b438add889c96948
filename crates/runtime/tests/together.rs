//! Several prompts at once on a real model (`scripts/fetch-model`; without it these tests say so and pass): the words are those of
//! each alone, and what several prompts begin with is read once.

use runtime::engine::service::{Heard, Service, ServiceOptions};
use runtime::engine::{Engine, EngineOptions};
use runtime::request::{AttentionMode, Device, Generation, Request};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

fn engine() -> Option<Engine> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS").map_or(folder, PathBuf::from);
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !file.exists() {
        eprintln!("SKIPPED: no {}; scripts/fetch-model gets it", file.display());
        return None;
    }
    let options = EngineOptions { device: Device::Cpu, threads: 2, ..EngineOptions::default() };
    Some(Engine::load(file.to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap())
}

/// A text of so many tokens, another for every seed.
fn prompt(engine: &Engine, seed: usize, tokens: usize) -> Vec<u32> {
    const WORDS: [&str; 12] =
        ["the", "panda", "sleeps", "in", "a", "tree", "while", "rain", "falls", "on", "every", "leaf"];
    let text: String = (0..tokens).map(|n| format!("{} ", WORDS[(n * n * 7 + n * seed + seed) % 12])).collect();
    let mut ids = engine.encode(&text).unwrap();
    ids.truncate(tokens);
    ids
}

fn submit(service: &Service, ids: &[u32], request: &Request) -> Receiver<Generation> {
    let (sender, receiver) = channel();
    service.submit(ids.to_vec(), request.clone(), move |heard| {
        if let Heard::Ended(ended) = heard {
            sender.send(ended.unwrap()).unwrap();
        }
        ControlFlow::Continue(())
    });
    receiver
}

#[test]
fn answers_together_are_those_of_each_alone() {
    let Some(mut alone) = engine() else { return };
    let request = Request { max_tokens: 24, stop_at_eos: false, ..Request::default() };
    let prompts: Vec<_> = (0..8).map(|n| prompt(&alone, n, 40 + 130 * n)).collect();
    let go_on = &mut |_: runtime::request::Event| ControlFlow::Continue(());
    let wanted: Vec<_> = prompts.iter().map(|ids| alone.generate(ids, &request, go_on).unwrap().text).collect();
    let service = Service::start(engine().unwrap(), ServiceOptions::default());
    let said: Vec<_> = prompts.iter().map(|ids| submit(&service, ids, &request)).collect();
    for (n, (said, wanted)) in said.iter().zip(&wanted).enumerate() {
        assert_eq!(&said.recv().unwrap().text, wanted, "prompt {n}");
    }
    assert_eq!(service.pages().of_requests, 0);
}

/// The second of two prompts that share 4,096 tokens starts at least five times sooner.
#[test]
fn a_beginning_that_was_read_is_not_read_again() {
    let Some(engine) = engine() else { return };
    let beginning = prompt(&engine, 1, 4096);
    let prompts = [2, 3].map(|seed| [&beginning[..], &prompt(&engine, seed, 60)].concat());
    let service = Service::start(engine, ServiceOptions::default());
    let request = Request { max_tokens: 2, attention: AttentionMode::Dense, ..Request::default() };
    let [first, second] = prompts.map(|ids| submit(&service, &ids, &request).recv().unwrap().stats);
    assert_eq!((first.cached_tokens, second.cached_tokens), (0, 4096));
    let [before, after] = [first, second].map(|stats| stats.ttft_ms.expect("a token"));
    println!("first token after {before:.0} ms, then after {after:.0} ms");
    assert!(before >= 5.0 * after, "first token after {before:.0} ms, then after {after:.0} ms");
}
