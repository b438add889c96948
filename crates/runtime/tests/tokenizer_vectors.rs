//! Tokenizers of real GGUF files against llama.cpp's (`scripts/reference/tokenizer_vectors.py`), and their chat templates.
//!
//! Without the models (`scripts/fetch-model`) these tests say so and pass.

use runtime::chat_template::{ChatTemplate, Message};
use runtime::tokenizer::Tokenizer;
use runtime::weights::gguf::Gguf;
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
struct Vectors {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
}

fn open(model: &str) -> Option<Gguf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS").map_or(root.join("../../models"), PathBuf::from);
    match std::fs::read(folder.join(model)) {
        Ok(bytes) => Some(Gguf::parse(&bytes).expect("a whole file")),
        Err(_) => {
            eprintln!("SKIPPED: {model} is not there; scripts/fetch-model gets it");
            None
        }
    }
}

/// `differs`: strings whose ids differ for a reason.
fn agrees(model: &str, vectors: &str, differs: &[&str]) {
    let Some(gguf) = open(model) else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).expect("a known tokenizer");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tokenizer").join(vectors);
    let vectors: Vectors =
        serde_json::from_slice(&std::fs::read(path).expect("in the repository")).expect("as written");
    assert!(vectors.rows.len() > 60);
    for row in vectors.rows.iter().filter(|row| !differs.contains(&row.text.as_str())) {
        assert_eq!(tokenizer.encode(&row.text).expect("any text"), row.ids, "{:?}", row.text);
    }
}

#[test]
fn smollm2_tokens_are_llama_cpps() {
    agrees("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.json", &[]);
}

#[test]
fn qwen2_tokens_are_llama_cpps() {
    agrees("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.json", &[]);
}

#[test]
fn chat_templates_render_as_their_authors_show() {
    for (model, system) in [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        (
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
        ),
    ] {
        let Some(gguf) = open(model) else { continue };
        let source = gguf.text("tokenizer.chat_template").expect("a template");
        let template = ChatTemplate::new(source, "<|im_start|>", "<|im_end|>").expect("valid Jinja");
        let rendered = template.render(&[Message::user("Hi")], true).expect("a chat");
        let want =
            format!("<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(rendered, want, "{model}");
    }
}
