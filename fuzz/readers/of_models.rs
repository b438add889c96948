//! Files of models. Most are read from a folder, as the library does it.

#[path = "../../crates/runtime/tests/small_model/mod.rs"]
mod small_model;

use runtime::chat_template::{ChatTemplate, Message};
use runtime::config::ModelConfig;
use runtime::engine::{Engine, EngineOptions};
use runtime::formats::gguf::Gguf;
use runtime::request::{AttentionMode, Device, Request};
use runtime::tokenizer::Tokenizer;
use runtime::weights::{LayerPart, ModelWeights, TensorName};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Characters of one to four bytes, spaces that SentencePiece changes, and a token's name.
const TEXT: &str = "The  quick\n\tfox 12345 <end> \u{e9}\u{4e2d}\u{1f600}\u{301} it's";

pub fn chat_template(bytes: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(bytes) else { return false };
    let Ok(template) = ChatTemplate::new(source, "<s>", "</s>") else { return false };
    let message = |role: &str, content: &str| Message::new(role, content);
    let chat = [
        message("system", "You are terse."),
        message("user", TEXT),
        message("assistant", "<think>four</think> 4 "),
        message("user", "{{ not_a_tag }}"),
    ];
    let rendered = [&chat[..], &chat[1..2], &[]].map(|messages| template.render(messages, true).is_ok());
    rendered.contains(&true)
}

/// Reads text with a tokenizer in all ways, and back; whether it could.
fn use_tokenizer(tokenizer: &Tokenizer) -> bool {
    let ids = [tokenizer.encode(TEXT), tokenizer.encode_plain(TEXT), tokenizer.encode("")];
    let all_read = ids.iter().all(Result::is_ok);
    let mut stream = tokenizer.stream();
    for ids in ids.into_iter().flatten() {
        tokenizer.decode(&ids);
        for id in ids {
            stream.push(id);
        }
    }
    stream.finish();
    tokenizer.decode(&[0, 1, u32::MAX]);
    all_read
}

pub fn tokenizer_json(bytes: &[u8]) -> bool {
    thread_local!(static FOLDER: TempDir = tempfile::tempdir().expect("a folder to write in"));
    FOLDER.with(|folder| {
        fs::write(folder.path().join("tokenizer.json"), bytes).expect("room for the file");
        Tokenizer::from_folder(folder.path()).is_ok_and(|tokenizer| use_tokenizer(&tokenizer))
    })
}

pub fn gguf_parse(bytes: &[u8]) -> bool {
    // The head of a longer file, whose end is not there to be read.
    let _ = Gguf::parse_head(bytes, bytes.len() as u64 + (1 << 40));
    let Ok(gguf) = Gguf::parse(bytes) else { return false };
    let bytes_of = |name: &str| gguf.tensor(name).map(|place| bytes[place.bytes.clone()].to_vec());
    let config = ModelConfig::from_gguf(&gguf, &bytes_of);
    let tokenizer = Tokenizer::from_gguf(&gguf);
    let reads_text = tokenizer.is_ok_and(|tokenizer| use_tokenizer(&tokenizer));
    for (_, place) in gguf.tensors() {
        let row_bytes = place.bytes.len() / place.rows;
        // Every place must lie inside the file and hold whole rows.
        let row = &bytes[place.bytes.clone()][..row_bytes];
        if place.cols <= 1 << 16 {
            place.encoding.decode(row, &mut vec![0.0; place.cols]);
        }
    }
    config.is_ok() && reads_text
}

/// The smallest model there can be: two tensors outside its only layer, nine in it.
const SMALLEST_CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 2, "intermediate_size": 2,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 3,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true}"#;

pub fn safetensors_file(bytes: &[u8]) -> bool {
    thread_local!(static FOLDER: TempDir = {
        let folder = tempfile::tempdir().expect("a folder to write in");
        fs::write(folder.path().join("config.json"), SMALLEST_CONFIG).expect("room for the file");
        folder
    });
    FOLDER.with(|folder| {
        fs::write(folder.path().join("model.safetensors"), bytes).expect("room for the file");
        let Ok(weights) = ModelWeights::open_folder(folder.path()) else { return false };
        for part in [LayerPart::Q, LayerPart::O, LayerPart::Down] {
            let name = TensorName::Layer { layer: 0, part };
            assert_eq!(weights.tensor(name).expect("it was there when the file was opened").to_f32().len(), 4);
        }
        true
    })
}

/// JSON files of a folder that say how the model is made. The first byte of an input says which it replaces.
const DESCRIPTIONS: [&str; 4] =
    ["config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json"];

/// Loads a model and answers; whether it could.
fn use_folder(folder: &Path) -> bool {
    let options = EngineOptions { device: Device::Cpu, threads: 1, ..EngineOptions::default() };
    let Ok(mut engine) = Engine::load(folder.to_str().expect("UTF-8"), &options, &mut |_| {}) else { return false };
    let _ = engine.render_chat(&[Message::user("changed")]);
    let prompt = engine.encode("changed").expect("its tokenizer is whole");
    let request = Request { attention: AttentionMode::Dense, max_tokens: 2, ..Request::default() };
    engine.generate(&prompt, &request, &mut |_| std::ops::ControlFlow::Continue(())).is_ok()
}

pub fn model_folder(bytes: &[u8]) -> bool {
    thread_local!(static FOLDER: TempDir = {
        let folder = tempfile::tempdir().expect("a folder to write in");
        small_model::write(folder.path());
        folder
    });
    let Some((first, text)) = bytes.split_first() else { return false };
    FOLDER.with(|folder| {
        let path = folder.path().join(DESCRIPTIONS[*first as usize % DESCRIPTIONS.len()]);
        let whole = fs::read(&path).expect("it was written above");
        fs::write(&path, text).expect("room for the file");
        let answered = use_folder(folder.path());
        fs::write(&path, whole).expect("room for the file");
        answered
    })
}
