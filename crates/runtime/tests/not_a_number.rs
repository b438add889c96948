//! A model with a weight that is no finite number ends with an error, whatever it is asked for.

use runtime::engine::{Engine, EngineError, EngineOptions};
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
    let options = EngineOptions { device: Device::Cpu, threads: 1, ..EngineOptions::default() };
    Engine::load(folder.path().to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap()
}

#[test]
fn what_computes_no_number_says_where() {
    let prompt = [5, 6, 7, 8, 9];
    let random = Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 };
    let down = "model.layers.1.mlp.down_proj.weight";
    for (tensor, bits) in [(down, 0x7f80), (down, 0x7fc0), ("model.layers.0.self_attn.v_proj.weight", 0xff80)] {
        let mut engine = engine(tensor, 3, bits);
        for (attention, sampling) in [(AttentionMode::Dense, Sampling::Greedy), (AttentionMode::Sparse, random)] {
            let request = Request { attention, sampling, max_tokens: 3, ..Request::default() };
            let error = engine.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).unwrap_err();
            assert!(matches!(error, EngineError::NoNumber { position: 5 }), "{tensor}: {error}");
            assert!(error.to_string().contains("no number") && error.to_string().contains("position 5"), "{error}");
            let error = engine.tail_nll(&prompt, 2, &request).unwrap_err();
            assert!(matches!(error, EngineError::NoNumber { position: 3 }), "{tensor}: {error}");
        }
    }
    let request = Request { max_tokens: 3, ..Request::default() };
    assert!(engine(down, 3, 0x3f80).generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).is_ok());
}
