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

#[test]
fn a_text_ends_at_every_token_that_a_file_names_and_at_well_known_ones() {
    let eos_ids = |files: &[(&str, Value)]| {
        let mut all = vec![("tokenizer.json", tokenizer_json())];
        all.extend_from_slice(files);
        Tokenizer::from_folder(folder(&all).path()).unwrap().eos_ids().to_vec()
    };
    assert_eq!(eos_ids(&[]), [257, 256]);
    assert_eq!(eos_ids(&[("config.json", json!({"eos_token_id": 9}))]), [9, 257, 256]);
    let generation = ("generation_config.json", json!({"eos_token_id": [8, 256]}));
    for eos in [json!("<turn>"), json!({"content": "<turn>", "special": true})] {
        let files = [
            ("config.json", json!({"eos_token_id": 9})),
            generation.clone(),
            ("tokenizer_config.json", json!({"eos_token": eos})),
        ];
        assert_eq!(eos_ids(&files), [8, 256, 9, 258, 257]);
    }
    // Names no token.
    assert_eq!(eos_ids(&[("tokenizer_config.json", json!({"eos_token": "</nothing>"}))]), [257, 256]);
}

#[test]
fn a_name_spelt_by_a_plain_token_ends_nothing() {
    let mut json = tokenizer_json();
    json["added_tokens"][0]["special"] = json!(false);
    assert_eq!(Tokenizer::from_folder(folder(&[("tokenizer.json", json)]).path()).unwrap().eos_ids(), [257]);
}

/// What reading a `tokenizer.json` and a text with it ends with.
fn error_of(json: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let read = Tokenizer::from_folder(folder.path()).and_then(|tokenizer| tokenizer.encode("some text"));
    read.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let json = tokenizer_json();
    // Each part once at the end of the file: what the library makes of a cut differs from part to part.
    for part in ["decoder", "pre_tokenizer", "added_tokens", "model"] {
        let mut others = json.clone();
        let last = others.as_object_mut().unwrap().remove(part).unwrap();
        let others = others.to_string();
        let text = format!("{},\"{part}\":{last}}}", &others[..others.len() - 1]);
        let cuts = (0..text.len()).rev().take(400).filter(|cut| text.is_char_boundary(*cut));
        for cut in cuts {
            let message = error_of(&text[..cut]);
            assert!(message.contains("tokenizer.json: "), "{part} cut at {cut}: {message}");
        }
    }
}

#[test]
fn parts_that_make_the_library_panic_are_errors() {
    let model = |key: &str, value: Value| {
        let mut json = tokenizer_json();
        json["model"][key] = value;
        json["model"]["merges"] = json!([["a", "b"]]);
        json["model"]["vocab"]["ab"] = json!(300);
        json
    };
    let part = |key: &str, value: Value| {
        let mut json = tokenizer_json();
        json[key] = value;
        json
    };
    for json in [
        model("continuing_subword_prefix", json!("longer than any token")),
        part("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        part("decoder", json!({"type": "Sequence"})),
        part("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////wAA"})),
        part("normalizer", json!({"type": "Precompiled"})),
    ] {
        let message = error_of(&json.to_string());
        assert!(message.contains("tokenizer.json: "), "{message}");
    }
}
