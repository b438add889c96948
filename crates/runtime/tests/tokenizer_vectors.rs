//! Real vocabularies against llama.cpp (`scripts/reference/tokenizer_vectors.py`).
//!
//! The models are fetched by `scripts/fetch-model`; without them these tests say so and pass.

use runtime::formats::gguf::Gguf;
use runtime::tokenizer::{GgufVocabulary, Tokenizer};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Vectors {
    file: String,
    vocab_size: usize,
    ends_of_generation: Vec<u32>,
    texts: Vec<String>,
    /// For each pre-tokenizer on this vocabulary, the ids of each text.
    ids: BTreeMap<String, Vec<Vec<u32>>>,
}

/// The vectors and the vocabulary they are of, or a visible skip.
fn open(json: &str) -> Option<(Vectors, GgufVocabulary)> {
    let vectors: Vectors = serde_json::from_str(json).expect("vectors are as the script writes them");
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), PathBuf::from);
    let Ok(file) = std::fs::read(folder.join(&vectors.file)) else {
        eprintln!("SKIPPED: {} is not there; scripts/fetch-model gets it", vectors.file);
        return None;
    };
    let gguf = Gguf::parse(&file).expect("a whole model");
    Some((vectors, GgufVocabulary::from_gguf(&gguf).expect("a whole vocabulary")))
}

fn agrees_with_llama_cpp(json: &str) {
    let Some((vectors, vocabulary)) = open(json) else { return };
    for (pre, expected) in &vectors.ids {
        let vocabulary = GgufVocabulary { pre: pre.clone(), add_bos: Some(false), ..vocabulary.clone() };
        let tokenizer = Tokenizer::from_vocabulary(vocabulary).expect("a whole vocabulary");
        assert_eq!(tokenizer.vocab_size(), vectors.vocab_size);
        assert!(tokenizer.eos_ids().iter().all(|id| vectors.ends_of_generation.contains(id)));
        for (text, expected) in vectors.texts.iter().zip(expected) {
            let ids = tokenizer.encode(text).expect("any text");
            assert_eq!(&ids, expected, "{pre}: {text:?}");
        }
    }
}

/// Long texts are cut for several threads: nobody sees it in their tokens.
fn long_texts_have_the_tokens_of_the_library(json: &str) {
    let Some((vectors, vocabulary)) = open(json) else { return };
    // Each text in front of each other one, with and without something between.
    let joined = |between: &str| {
        let texts = vectors.texts.iter();
        texts.clone().flat_map(|a| texts.clone().flat_map(move |b| [a, between, b, between])).collect::<String>()
    };
    let texts = ["", " ", "\n", " a b ", ".\n\na b\n"].map(joined);
    for pre in vectors.ids.keys() {
        let vocabulary = GgufVocabulary { pre: pre.clone(), add_bos: Some(false), ..vocabulary.clone() };
        let tokenizer = Tokenizer::from_vocabulary(vocabulary).expect("a whole vocabulary");
        let library =
            tokenizers::Tokenizer::from_bytes(tokenizer.to_json().expect("what it read")).expect("what it wrote");
        for text in &texts {
            assert!(text.len() > 50_000);
            let (ids, expected) =
                (tokenizer.encode(text).expect("any text"), library.encode_fast(&text[..], false).expect("any text"));
            assert!(ids == expected.get_ids(), "{pre}");
        }
    }
}

#[test]
fn smollm2_and_other_pre_tokenizers_on_its_vocabulary_agree_with_llama_cpp() {
    agrees_with_llama_cpp(include_str!("reference/tokenizer/smollm2.json"));
}

#[test]
fn qwen2_agrees_with_llama_cpp() {
    agrees_with_llama_cpp(include_str!("reference/tokenizer/qwen2.json"));
}

#[test]
fn smollm2_reads_long_texts_as_the_library_does() {
    long_texts_have_the_tokens_of_the_library(include_str!("reference/tokenizer/smollm2.json"));
}

#[test]
fn qwen2_reads_long_texts_as_the_library_does() {
    long_texts_have_the_tokens_of_the_library(include_str!("reference/tokenizer/qwen2.json"));
}
