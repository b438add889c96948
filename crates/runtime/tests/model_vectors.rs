//! Real models against Hugging Face transformers in f32 on the same file (`scripts/reference/model_vectors.py`).
//!
//! The models are fetched by `scripts/fetch-model`; without them these tests say so and pass.

use runtime::cpu::Cpu;
use runtime::decoder::Decoder;
use runtime::engine::{Engine, EngineOptions};
use runtime::gpu::{Gpu, GpuOptions};
use runtime::model::Model;
use runtime::policy::PrefillAttention;
use runtime::precision::Quantization;
use runtime::request::{AttentionMode, Device, Request};
use runtime::weights::ModelWeights;
use serde::Deserialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const SMOLLM2: (&str, &str) = ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.json");
const QWEN2: (&str, &str) = ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.json");

/// Its vectors begin with `<bos>`, without which the model says little of sense.
const GEMMA3: (&str, &str) = ("gemma-3-270m-q4_k_m.gguf", "gemma3.json");

/// Two logits this close in the reference are a tie: bf16 products of one instruction set or another decide it.
const TIE: f32 = 0.02;

#[derive(Deserialize)]
struct Vectors {
    text: Text,
    others: Vec<Other>,
    long: Long,
    greedy: Greedy,
}

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
    top1: Vec<u32>,
    margin: Vec<f32>,
    nll: Vec<f64>,
    perplexity: f64,
    samples: Vec<Sample>,
}

/// Another kind of text.
#[derive(Deserialize)]
struct Other {
    name: String,
    ids: Vec<u32>,
    perplexity: f64,
}

#[derive(Deserialize)]
struct Sample {
    position: usize,
    ids: Vec<usize>,
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Long {
    ids: Vec<u32>,
    tail: usize,
    tail_nll: f64,
}

#[derive(Deserialize)]
struct Greedy {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
}

/// The model file and its vectors, or a visible skip.
fn open((model, vectors): (&str, &str)) -> Option<(PathBuf, Vectors)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS").map_or(root.join("../../models"), PathBuf::from);
    let path = folder.join(model);
    if !path.exists() {
        eprintln!("SKIPPED: {model} is not there; scripts/fetch-model gets it");
        return None;
    }
    let json = std::fs::read(root.join("tests/reference/model").join(vectors)).expect("vectors are in the repository");
    Some((path, serde_json::from_slice(&json).expect("vectors are as the script writes them")))
}

/// The model on every device there is.
fn load(path: &Path) -> Vec<Box<dyn Model>> {
    let weights = || ModelWeights::open_gguf(path).expect("a whole model");
    let cpu = Cpu::new(attention::simd::Simd::detect());
    let mut models: Vec<Box<dyn Model>> =
        vec![Box::new(Decoder::load(cpu, weights(), &mut |_| {}).expect("a whole model"))];
    match Gpu::open(0, weights().config(), GpuOptions::default()) {
        Ok(gpu) => models.push(Box::new(Decoder::load(gpu, weights(), &mut |_| {}).expect("a whole model"))),
        Err(error) => eprintln!("SKIPPED on the GPU: {error}"),
    }
    models
}

/// Takes `ids` through the model in chunks, calling `each(position, logits)` for every position from `from` on.
fn logits(model: &dyn Model, ids: &[u32], chunk: usize, from: usize, mut each: impl FnMut(usize, Vec<f32>)) {
    let mut run = model.start(ids.len(), ids.len()).expect("room");
    for (n, part) in ids.chunks(chunk).enumerate() {
        run.forward(part, PrefillAttention::default(), 0).expect("room");
        for row in 0..part.len() {
            if n * chunk + row >= from {
                each(n * chunk + row, run.logits(row).expect("a sound device"));
            }
        }
    }
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("not empty") as u32
}

fn nll(logits: &[f32], target: u32) -> f64 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)) as f64;
    let sum: f64 = logits.iter().map(|&x| (x as f64 - top).exp()).sum();
    top + sum.ln() - logits[target as usize] as f64
}

fn agrees_on_text(files: (&str, &str)) {
    let Some((path, Vectors { text, .. })) = open(files) else { return };
    for model in load(&path) {
        agrees_on_text_on(&*model, files.0, &text);
    }
}

fn agrees_on_text_on(model: &dyn Model, name: &str, text: &Text) {
    let positions = text.top1.len();
    let (mut agreed, mut ties, mut total, mut worst) = (0, 0, 0.0, 0f64);
    // 200 is no multiple of anything: chunks begin inside tiles and pages.
    logits(model, &text.ids[..positions], 200, 0, |position, logits| {
        let same = best(&logits) == text.top1[position];
        agreed += usize::from(same);
        ties += usize::from(!same && text.margin[position] < TIE);
        let own = nll(&logits, text.ids[position + 1]);
        worst = worst.max((own - text.nll[position]).abs());
        total += own;
        for sample in text.samples.iter().filter(|sample| sample.position == position) {
            // Logits are free up to a constant as far as probabilities go, but not here: same weights, same numbers.
            for (id, want) in sample.ids.iter().zip(&sample.logits) {
                assert!((logits[*id] - want).abs() < 0.35, "position {position} id {id}: {} {want}", logits[*id]);
            }
        }
    });
    let perplexity = (total / positions as f64).exp();
    let off = perplexity / text.perplexity - 1.0;
    println!(
        "{name} on {}: top-1 {agreed} of {positions} ({ties} of the others are ties), perplexity {perplexity:.4} ({:+.3}%), largest NLL difference {worst:.3}",
        model.device_name(),
        100.0 * off
    );
    assert!((agreed + ties) * 100 >= positions * 99, "top-1 agrees on {agreed} of {positions}");
    assert!(off.abs() < 0.005, "perplexity {perplexity}, reference {}", text.perplexity);
}

/// A licence and source code: one kind of text may be right by luck.
fn agrees_on_other_texts(files: (&str, &str)) {
    let Some((path, Vectors { others, .. })) = open(files) else { return };
    for model in load(&path) {
        for Other { name, ids, perplexity } in &others {
            let (positions, mut total) = (ids.len() - 1, 0.0);
            logits(&*model, &ids[..positions], 200, 0, |position, logits| total += nll(&logits, ids[position + 1]));
            let off = (total / positions as f64).exp() / perplexity - 1.0;
            println!(
                "{} on {}, {name}: perplexity {perplexity:.4} ({:+.3}%)",
                files.0,
                model.device_name(),
                100.0 * off
            );
            assert!(off.abs() < 0.005, "{name}: perplexity is off by {off}");
        }
    }
}

/// Products of one row take other kernels, on the CPU with inputs of integers.
fn agrees_token_by_token(files: (&str, &str)) {
    const POSITIONS: usize = 256;
    let Some((path, Vectors { text, .. })) = open(files) else { return };
    let positions = POSITIONS.min(text.top1.len());
    for model in load(&path) {
        let mut off = 0.0;
        logits(&*model, &text.ids[..positions], 1, 0, |position, logits| {
            off += nll(&logits, text.ids[position + 1]) - text.nll[position];
        });
        let off = (off / positions as f64).exp() - 1.0;
        println!("{} on {}, token by token: perplexity {:+.3}%", files.0, model.device_name(), 100.0 * off);
        assert!(off.abs() < 0.005, "perplexity is off by {off}");
    }
}

fn agrees_at_2048(files: (&str, &str)) {
    let Some((path, Vectors { long, .. })) = open(files) else { return };
    let positions = long.ids.len() - 1;
    for model in load(&path) {
        let mut total = 0.0;
        logits(&*model, &long.ids[..positions], 768, positions - long.tail, |position, logits| {
            total += nll(&logits, long.ids[position + 1]);
        });
        let mean = total / long.tail as f64;
        let (device, Long { tail, tail_nll, .. }) = (model.device_name(), &long);
        println!("{} on {device}: NLL of the last {tail} of {positions}: {mean:.4}, reference {tail_nll:.4}", files.0);
        assert!((mean - long.tail_nll).abs() < 0.01, "{mean}, reference {}", long.tail_nll);
    }
}

fn continues_greedily(files: (&str, &str)) {
    let Some((path, Vectors { greedy, .. })) = open(files) else { return };
    for device in [Device::Cpu, Device::Cuda(0)] {
        let options = EngineOptions { device, ..EngineOptions::default() };
        let mut engine = match Engine::load(path.to_str().expect("UTF-8"), &options, &mut |_| {}) {
            Ok(engine) => engine,
            Err(error) if device != Device::Cpu => return eprintln!("SKIPPED on {device}: {error}"),
            Err(error) => panic!("{error}"),
        };
        let request =
            Request { max_tokens: greedy.tokens.len(), attention: AttentionMode::Dense, ..Request::default() };
        let generation =
            engine.generate(&greedy.prompt, &request, &mut |_| ControlFlow::Continue(())).expect("a short prompt");
        assert_eq!(generation.text, greedy.text, "on {device}");
        assert_eq!(generation.tokens, greedy.tokens, "on {device}");
    }
}

/// Layers in 8-bit floats are another model; how far it is from the one that was trained is bounded here and measured by `eval`.
#[test]
fn qwen2_in_8_bit_floats_keeps_its_perplexity() {
    let Some((path, Vectors { text, .. })) = open(QWEN2) else { return };
    let weights = ModelWeights::open_gguf(&path).expect("a whole model");
    let options = GpuOptions { quantization: Some(Quantization::Fp8), ..GpuOptions::default() };
    let gpu = match Gpu::open(0, weights.config(), options) {
        Ok(gpu) => gpu,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let model = Decoder::load(gpu, weights, &mut |_| {}).expect("a whole model");
    let positions = text.top1.len();
    // Whole, and the last tokens one by one.
    for chunk in [positions, 1] {
        let mut total = 0.0;
        logits(&model, &text.ids[..positions], chunk, 0, |position, logits| {
            total += nll(&logits, text.ids[position + 1]);
        });
        let perplexity = (total / positions as f64).exp();
        println!("chunks of {chunk}: perplexity {perplexity:.4}, in bf16 {:.4}", text.perplexity);
        assert!((perplexity / text.perplexity - 1.0).abs() < 0.03, "perplexity {perplexity} of {}", text.perplexity);
    }
}

#[test]
fn smollm2_agrees_with_transformers_on_text() {
    agrees_on_text(SMOLLM2);
}

#[test]
fn smollm2_agrees_with_transformers_token_by_token() {
    agrees_token_by_token(SMOLLM2);
}

#[test]
fn smollm2_agrees_with_transformers_on_other_texts() {
    agrees_on_other_texts(SMOLLM2);
}

#[test]
fn smollm2_agrees_with_transformers_at_2048_tokens() {
    agrees_at_2048(SMOLLM2);
}

#[test]
fn smollm2_continues_as_transformers_does() {
    continues_greedily(SMOLLM2);
}

#[test]
fn qwen2_agrees_with_transformers_on_text() {
    agrees_on_text(QWEN2);
}

#[test]
fn qwen2_agrees_with_transformers_token_by_token() {
    agrees_token_by_token(QWEN2);
}

#[test]
fn qwen2_agrees_with_transformers_on_other_texts() {
    agrees_on_other_texts(QWEN2);
}

#[test]
fn qwen2_agrees_with_transformers_at_2048_tokens() {
    agrees_at_2048(QWEN2);
}

#[test]
fn qwen2_continues_as_transformers_does() {
    continues_greedily(QWEN2);
}

#[test]
fn gemma3_agrees_with_transformers_on_text() {
    agrees_on_text(GEMMA3);
}

#[test]
fn gemma3_agrees_with_transformers_on_other_texts() {
    agrees_on_other_texts(GEMMA3);
}

#[test]
fn gemma3_agrees_with_transformers_at_2048_tokens() {
    agrees_at_2048(GEMMA3);
}

/// What a base model repeats itself with is often a near tie, which another arithmetic decides otherwise: token by token, what
/// transformers chose is as good as our own choice.
#[test]
fn gemma3_would_continue_as_transformers_does() {
    let Some((path, Vectors { greedy: Greedy { prompt, tokens, .. }, .. })) = open(GEMMA3) else { return };
    let ids = [&prompt[..], &tokens[..]].concat();
    for model in load(&path) {
        let mut worst = 0f32;
        logits(&*model, &ids[..ids.len() - 1], 1, prompt.len() - 1, |position, logits| {
            worst = worst.max(logits[best(&logits) as usize] - logits[ids[position + 1] as usize]);
        });
        println!("{} on {}: a choice is at most {worst:.3} below our own", GEMMA3.0, model.device_name());
        assert!(worst < 0.25, "{worst}");
    }
}

#[test]
fn gemma3_reads_text_as_transformers_does() {
    let Some((path, Vectors { text, .. })) = open(GEMMA3) else { return };
    let options = EngineOptions { device: Device::Cpu, ..EngineOptions::default() };
    let engine = Engine::load(path.to_str().expect("UTF-8"), &options, &mut |_| {}).expect("a whole model");
    let ids = engine.encode(include_str!("reference/model/text.txt")).expect("a short text");
    assert_eq!(ids[..text.ids.len()], text.ids);
}
