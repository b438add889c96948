use super::*;
use crate::tokenizer::token_bytes::byte_characters;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Bytes as tokens, and two special ones behind them.
fn tokenizer_json() -> Value {
    let vocab: serde_json::Map<_, _> =
        byte_characters().iter().zip(0..).map(|(c, id)| (c.to_string(), id.into())).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<|endoftext|>"), special(257, "<|im_end|>"), special(258, "<turn>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, json) in files {
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    folder
}

#[test]
fn truncation_and_padding_do_not_touch_a_prompt() {
    let mut json = tokenizer_json();
    json["truncation"] = json!({"max_length": 7, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = json!({"strategy": {"Fixed": 90}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 3,
        "pad_type_id": 0, "pad_token": "!"});
    let tokenizer = Tokenizer::from_folder(folder(&[("tokenizer.json", json)]).path()).unwrap();
    for len in [5, 60, 300] {
        assert_eq!(tokenizer.encode(&"x".repeat(len)).unwrap().len(), len);
    }
}
