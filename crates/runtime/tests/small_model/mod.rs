//! A whole model of a few kilobytes, made here: bytes as tokens, one layer, weights that follow from their places.

use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::path::Path;

const HIDDEN: usize = 16;
const VOCABULARY: usize = 257;

/// Names and shapes of all tensors.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let layer = [
        ("input_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.v_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("mlp.gate_proj", vec![HIDDEN, HIDDEN]),
        ("mlp.up_proj", vec![HIDDEN, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, HIDDEN]),
    ];
    let layer = layer.into_iter().map(|(name, shape)| (format!("model.layers.0.{name}.weight"), shape));
    let ends = [("model.embed_tokens.weight", vec![VOCABULARY, HIDDEN]), ("model.norm.weight", vec![HIDDEN])];
    layer.chain(ends.map(|(name, shape)| (name.to_string(), shape))).collect()
}

/// A safetensors file of these tensors.
fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(t, (_, shape))| {
            let number = |n: usize| ((n * 37 + t * 11) as f32).sin();
            (0..shape.iter().product()).flat_map(|n| number(n).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).expect("as long as its shape"))
    });
    safetensors::serialize(views, None).expect("a head")
}

/// The characters that byte-level tokenizers spell bytes with.
fn byte_characters() -> impl Iterator<Item = char> {
    let itself = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..256).filter(move |byte| !itself(byte)).zip(256..).map(|(_, c)| c);
    (0..256).filter(itself).chain(others).map(|c| char::from_u32(c).expect("a character"))
}

fn tokenizer() -> Value {
    let vocab: serde_json::Map<_, _> = byte_characters().zip(0..).map(|(c, id)| (c.to_string(), id.into())).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "added_tokens": [{"id": 256, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false}],
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

/// Names and bytes of all files of the model, its weights in two of them.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    const FIRST: &str = "model-00001-of-00002.safetensors";
    const SECOND: &str = "model-00002-of-00002.safetensors";
    let tensors = tensors();
    let (first, second) = tensors.split_at(6);
    let place = |file: &'static str| move |(name, _): &(String, Vec<usize>)| (name.clone(), Value::from(file));
    let weight_map: serde_json::Map<_, _> =
        first.iter().map(place(FIRST)).chain(second.iter().map(place(SECOND))).collect();
    let text = |json: Value| json.to_string().into_bytes();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": HIDDEN,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": HIDDEN,
        "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "tie_word_embeddings": true, "hidden_act": "silu", "eos_token_id": 256,
    });
    vec![
        ("config.json", text(config)),
        ("generation_config.json", text(json!({"eos_token_id": [256], "bos_token_id": null}))),
        ("tokenizer.json", text(tokenizer())),
        (
            "tokenizer_config.json",
            text(json!({"eos_token": "<end>", "bos_token": null, "chat_template": "{{ messages }}"})),
        ),
        ("chat_template.jinja", b"{% for message in messages %}{{ message['content'] | trim }}{% endfor %}".to_vec()),
        ("model.safetensors.index.json", text(json!({"metadata": {}, "weight_map": weight_map}))),
        (FIRST, safetensors(first)),
        (SECOND, safetensors(second)),
    ]
}

/// Writes all files.
pub fn write(folder: &Path) {
    for (name, bytes) in files() {
        std::fs::write(folder.join(name), bytes).expect("a folder to write in");
    }
}

/// Writes all files, with these fields of `config.json` in place of its own.
#[allow(dead_code)] // not every test changes the model
pub fn write_with(folder: &Path, fields: Value) {
    write(folder);
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("just written")).expect("JSON");
    let own = config.as_object_mut().expect("an object");
    own.extend(fields.as_object().expect("an object").clone());
    std::fs::write(&path, config.to_string()).expect("a folder to write in");
}

/// Loads the model of a folder; nothing, and a word about it, where the machine has no such device.
#[allow(dead_code)] // not every test that makes a model asks a device for it
pub fn load(folder: &Path, options: &EngineOptions) -> Option<Engine> {
    match Engine::load(folder.to_str().expect("UTF-8"), options, &mut |_| {}) {
        Ok(engine) => Some(engine),
        Err(error) if options.device != Device::Cpu => {
            eprintln!("SKIPPED on {}: {error}", options.device);
            None
        }
        Err(error) => panic!("{error}"),
    }
}
