//! A model with a weight that is no finite number ends with an error, whatever it is asked for.

use attention::search::{Search, Target};
use runtime::decoder::Part;
use runtime::engine::{Engine, EngineError, EngineOptions, Finding, Origin};
use runtime::policy::AttentionPolicy;
use runtime::request::{AttentionMode, Device, Request};
use runtime::sampling::Sampling;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;

/// A tiny model whose weight number `nth` of a tensor is these bf16 bits.
fn engine(tensor: &str, nth: usize, bits: u16) -> Engine {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny/qwen2"));
    let folder = tempfile::tempdir().unwrap();
    fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let mut bytes = fs::read(source.join("model.safetensors")).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    assert_eq!(header[tensor]["dtype"], "BF16");
    let at = 8 + header_len + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize + 2 * nth;
    bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let options =
        EngineOptions { device: Device::Cpu, threads: 1, chunk_tokens: Some(128), ..EngineOptions::default() };
    Engine::load(folder.path().to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap()
}

const DOWN: &str = "model.layers.1.mlp.down_proj.weight";
const INFINITY: u16 = 0x7f80;
const NAN: u16 = 0x7fc0;

/// Position of the token that has none, and where that began.
fn no_number<T>(result: Result<T, EngineError>) -> (usize, Origin) {
    match result.err().expect("a weight is no number") {
        EngineError::NoNumber { position, finding: Finding::Began(origin) } => (position, origin),
        error => panic!("{error}"),
    }
}

#[test]
fn what_computes_no_number_says_where_it_begins() {
    let prompt = [5, 6, 7, 8, 9];
    let random = Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 };
    let (first, second) = (Part::Attention { layer: 0 }, Part::Mlp { layer: 1 });
    for (tensor, bits, part) in [
        (DOWN, INFINITY, second),
        (DOWN, NAN, second),
        ("model.layers.0.self_attn.v_proj.weight", 0xff80, first),
        ("model.layers.0.input_layernorm.weight", NAN, first),
        ("model.layers.1.post_attention_layernorm.weight", INFINITY, second),
        ("model.norm.weight", NAN, Part::OutputHead),
    ] {
        let mut engine = engine(tensor, 3, bits);
        let origin = |position| Origin { part, position };
        for (attention, sampling) in [(AttentionMode::Dense, Sampling::Greedy), (AttentionMode::Sparse, random)] {
            let request = Request { attention, sampling, max_tokens: 3, ..Request::default() };
            let begins = |position: usize| if part == Part::OutputHead { origin(position - 1) } else { origin(0) };
            let found = no_number(engine.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())));
            assert_eq!(found, (5, begins(5)), "{tensor}");
            assert_eq!(no_number(engine.tail_nll(&prompt, 2, &request)), (3, begins(3)), "{tensor}");
            assert_eq!(no_number(engine.prefill_with(&prompt, AttentionPolicy::Dense)), (5, begins(5)), "{tensor}");
        }
    }
    let request = Request { max_tokens: 3, ..Request::default() };
    assert!(engine(DOWN, 3, 0x3f80).generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).is_ok());
}

/// One row of the embedding, looked up in the third chunk.
#[test]
fn one_token_of_a_longer_prompt_is_found_in_its_chunk() {
    let mut engine = engine("model.embed_tokens.weight", 48 * 7, NAN);
    let mut prompt: Vec<u32> = (0..400).map(|n| 8 + n % 9).collect();
    prompt[300] = 7;
    let search = Search::new(Target::Recall(0.9)).unwrap();
    for policy in [AttentionPolicy::Dense, AttentionPolicy::Search(&search)] {
        let (position, origin) = no_number(engine.prefill_with(&prompt, policy));
        assert_eq!((position, origin), (400, Origin { part: Part::Embedding, position: 300 }));
    }
}

#[test]
fn the_message_names_the_layer_and_what_to_do() {
    let error = engine(DOWN, 3, NAN)
        .generate(&[5, 6, 7], &Request::default(), &mut |_| ControlFlow::Continue(()))
        .unwrap_err()
        .to_string();
    for says in ["no number", "position 3", "the MLP of layer 1", "another file or quantisation"] {
        assert!(error.contains(says), "{error}");
    }
}
