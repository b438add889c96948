//! Tiny random models in Hugging Face folders against transformers in f32 (`scripts/reference/tiny_models.py`): single
//! and sharded safetensors, sizes that fill no tile, untied heads, biases, on every instruction set.

use attention::simd::Simd;
use runtime::config::{Experts, ModelConfig};
use runtime::cpu::Cpu;
use runtime::decoder::Decoder;
use runtime::formats::Encoding;
use runtime::gpu::{Gpu, GpuOptions};
use runtime::model::{Model, Outlook, Run, StepRow};
use runtime::model_files::ModelFiles;
use runtime::ops::{Ops, OpsError};
use runtime::policy::PrefillAttention;
use runtime::sequence::Sequence;
use runtime::weights::ModelWeights;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

#[derive(Deserialize)]
struct Vectors {
    ids: Vec<u32>,
    middle: usize,
    middle_logits: Vec<f32>,
    last_logits: Vec<f32>,
}

fn reference() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference"))
}

/// bf16 operands keep eight bits; two layers of weights this large leave about a hundredth.
fn close(got: &[f32], want: &[f32], what: &str) {
    let norm = |xs: &mut dyn Iterator<Item = f32>| xs.map(|x| (x as f64).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(want).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
    println!("{what}: relative error {error:.4}");
    assert!(error < 0.02, "{what}: relative error {error}");
}

fn agrees(name: &str) {
    agrees_in(name, &reference().join("tiny").join(name));
}

fn agrees_in(name: &str, folder: &Path) {
    files_agree(name, &ModelFiles::Folder(folder.into()), folder);
}

/// A model against the vectors in a folder.
fn files_agree(name: &str, files: &ModelFiles, folder: &Path) {
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let weights = || files.open().unwrap();
    for simd in Simd::available() {
        agrees_on(Cpu::new(simd), weights(), &vectors, &format!("{name}, {}", simd.name()));
    }
    match Gpu::open(0, weights().config(), GpuOptions::default()) {
        Ok(gpu) => agrees_on(gpu, weights(), &vectors, &format!("{name}, GPU")),
        Err(error) if has_no_device(&error) => eprintln!("SKIPPED on the GPU: {error}"),
        // Heads that fill no vector are for CPUs; the same families with others are under `gpu/`.
        Err(error) if !weights().config().head_dim.is_multiple_of(16) => eprintln!("on the CPU only: {error}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

fn has_no_device(error: &OpsError) -> bool {
    use cuda::Error::{NoDevice, NoDriver, OldDriver};
    matches!(error, OpsError::Cuda(NoDriver | NoDevice { .. } | OldDriver { .. }))
}

fn agrees_on(ops: impl Ops, weights: ModelWeights, vectors: &Vectors, what: &str) {
    let last = vectors.ids.len() - 1;
    let decoder = Decoder::load(ops, weights, &mut |_| {}).unwrap();
    // Of a warm-up nothing is left, not even its times.
    decoder.warm_up(70).unwrap();
    let times = decoder.ops().times().unwrap();
    assert_eq!(times.attention + times.products + times.rest, Duration::ZERO);
    // Whole, in uneven chunks, and token by token: the cache must make no difference.
    for chunk in [vectors.ids.len(), 37, 1] {
        let cache = decoder.kv_cache(vectors.ids.len()).unwrap();
        let mut sequence = Sequence::of_prompt(vectors.ids.len());
        cache.reserve(&mut sequence, vectors.ids.len()).unwrap();
        for part in vectors.ids.chunks(chunk) {
            let first = sequence.len();
            let mut activations = decoder.activations(&sequence, part.len()).unwrap();
            let mut room = decoder.logits_room(1).unwrap();
            decoder.forward(part, &mut activations, &cache, &mut sequence, PrefillAttention::default(), 0).unwrap();
            for (position, want) in [(vectors.middle, &vectors.middle_logits), (last, &vectors.last_logits)] {
                if (first..first + part.len()).contains(&position) {
                    let what = format!("{what}, chunks of {chunk}, position {position}");
                    decoder.output(&activations, position - first, &mut room).unwrap();
                    close(&decoder.logits(&room, 0).unwrap(), want, &what);
                }
            }
        }
    }
    // As answers are made: what one token takes is recorded, and replayed for the next.
    let mut run = decoder.start(vectors.ids.len(), vectors.ids.len()).unwrap();
    for (at, id) in vectors.ids.iter().enumerate() {
        run.forward_one(*id).unwrap();
        for (position, want) in [(vectors.middle, &vectors.middle_logits), (last, &vectors.last_logits)] {
            if at == position {
                close(&run.logits(0).unwrap(), want, &format!("{what}, token by token, position {position}"));
            }
        }
    }
    steps_agree(&decoder, &vectors.ids, what);
}

/// Several sequences of a pool together come out as each alone, whoever begins or ends meanwhile; on a CPU to the last bit.
fn steps_agree(model: &dyn Model, ids: &[u32], what: &str) {
    const TOKENS: usize = 70;
    let ids: Vec<u32> = ids.iter().copied().cycle().take(4 * TOKENS).collect();
    // Where each begins, how long its prompt is, and how many tokens come behind it.
    let asked = [(0, 1, 5), (3, 64, 8), (70, 37, TOKENS), (0, TOKENS, 3)];
    let prompt = |(first, len, _): (usize, usize, usize)| &ids[first..first + len];
    let behind = |(first, len, count): (usize, usize, usize)| ids[first + len..][..count].iter();
    let alone = asked.map(|one| {
        let run = model.start(prompt(one).len(), one.1 + one.2).unwrap();
        let mut run = begun(run, prompt(one));
        let logits = |id: &u32| {
            run.forward_one(*id).unwrap();
            let logits = run.logits(0).unwrap();
            assert_eq!(run.likeliest(0).unwrap(), Some(largest(&logits)), "{what}");
            logits
        };
        behind(one).map(logits).collect::<Vec<_>>()
    });
    let mut pool = model.pool(8 * TOKENS).unwrap();
    let all = pool.free_pages();
    let mut runs: Vec<_> = (asked.iter().enumerate())
        .map(|(n, one)| (n, begun(pool.start(one.1, one.1 + one.2, &[]).unwrap(), prompt(*one))))
        .collect();
    let mut step = 0;
    while !runs.is_empty() {
        let next = |n: usize| *behind(asked[n]).nth(step).unwrap();
        let mut rows: Vec<StepRow> = Vec::new();
        for (n, run) in &mut runs {
            // One has enough of the most likely token, now one, now another.
            rows.push(StepRow { run: &mut **run, id: next(*n), likeliest: *n == step % asked.len() });
        }
        let outlooks = pool.step(&mut rows).unwrap();
        for ((n, _), outlook) in runs.iter().zip(&outlooks) {
            let (alone, what) = (&alone[*n][step], format!("{what}: step {step} of sequence {n}"));
            match (outlook, model.gpu_kernel()) {
                (Outlook::Logits(got), None) => assert!(got == alone, "{what} is not what it is alone"),
                (Outlook::Logits(got), Some(_)) => close(got, alone, &what),
                (Outlook::Likeliest(got), None) => assert_eq!(*got, Some(largest(alone)), "{what}"),
                // Sums in another order may change places.
                (Outlook::Likeliest(got), Some(_)) => {
                    let (got, largest) = (alone[got.expect("numbers") as usize], alone[largest(alone) as usize]);
                    assert!(largest - got <= 0.02 * largest.abs().max(1.0), "{what}: {got} is not {largest}");
                }
            }
        }
        step += 1;
        runs.retain(|(n, _)| step < asked[*n].2);
    }
    drop(runs);
    assert_eq!(pool.free_pages(), all);
}

/// The lowest id of the largest.
fn largest(logits: &[f32]) -> u32 {
    let larger = |best: usize, id: usize| if logits[id] > logits[best] { id } else { best };
    (0..logits.len()).fold(0, larger) as u32
}

fn begun<'m>(mut run: Box<dyn Run + 'm>, prompt: &[u32]) -> Box<dyn Run + 'm> {
    run.forward(prompt, PrefillAttention::default(), 0).unwrap();
    run
}

#[test]
fn sharded_llama_agrees_with_transformers() {
    agrees("llama");
}

#[test]
fn qwen2_with_biases_and_odd_sizes_agrees_with_transformers() {
    agrees("qwen2");
}

#[test]
fn mistral_with_a_window_shorter_than_the_prompt_agrees_with_transformers() {
    agrees("mistral");
}

#[test]
fn qwen2_with_windows_in_some_layers_agrees_with_transformers() {
    agrees("qwen2-windowed");
}

#[test]
fn qwen3_with_normed_heads_agrees_with_transformers() {
    agrees("qwen3");
}

/// The weights of one tiny model under the config of another.
fn agrees_under(config: &str, weights: &str) {
    let folder = tempfile::tempdir().unwrap();
    for from in [weights, config] {
        for file in std::fs::read_dir(reference().join("tiny").join(from)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    agrees_in(config, folder.path());
}

/// A GGUF file of a tiny model, and its Hugging Face folder with the config that says the same.
fn agrees_as_gguf(name: &str) {
    let folder = reference().join("tiny/gguf").join(name);
    files_agree(&format!("{name}.gguf"), &ModelFiles::Gguf(folder.join("model.gguf")), &folder);
    agrees_under(&format!("gguf/{name}"), name);
}

#[test]
fn every_rope_scaling_agrees_with_transformers() {
    for name in ["linear", "dynamic", "yarn", "llama3"] {
        agrees_under(&format!("rope/{name}"), "llama");
    }
}

/// Two RoPE bases, windows, four norms, a scale of its own, capped logits; heads of 24 elements, and of 256.
#[test]
fn gemma3_agrees_with_transformers() {
    agrees("gemma3");
    agrees("gpu/gemma3");
    agrees_as_gguf("gemma3");
}

/// Fused projections, a part of each head rotated; a prompt longer than LongRoPE's original context, and one within it.
#[test]
fn phi3_agrees_with_transformers() {
    agrees("phi3");
    agrees_as_gguf("phi3");
}

/// Layers without RoPE, every fourth one, or those that the config names, with windows.
#[test]
fn smollm3_agrees_with_transformers() {
    agrees("smollm3");
    agrees_as_gguf("smollm3");
    agrees_under("smollm3-windowed", "smollm3");
    agrees("gpu/smollm3");
}

/// Without a GPU, too: the model's sizes are looked at first.
#[test]
fn a_gpu_says_which_sizes_have_no_kernel() {
    let config = |name| {
        let folder = ModelFiles::Folder(reference().join("tiny").join(name));
        folder.open().unwrap().config().clone()
    };
    let says = |config: &ModelConfig, text: &str| {
        let refused = Gpu::open(0, config, GpuOptions::default()).err().unwrap();
        assert!(matches!(refused, OpsError::Cuda(cuda::Error::Unsupported { .. })), "{refused}");
        assert_eq!(refused.to_string(), text);
    };
    says(&config("gemma3"), "head_dim: expected a power of two from 16 to 512, with norms, found 24");
    says(&config("mixtral"), "head_dim: expected a multiple of 16, found 10");
    let experts = config("gpu/mixtral");
    says(
        &ModelConfig { hidden_size: 44, ..experts.clone() },
        "hidden size: expected a multiple of 8 on a GPU, found 44",
    );
    let narrow = experts.experts.clone().map(|experts| Experts { intermediate_size: 20, ..experts });
    says(&ModelConfig { experts: narrow, ..experts }, "size of an expert: expected a multiple of 8 on a GPU, found 20");
    says(
        &ModelConfig { intermediate_size: 52, ..config("llama") },
        "MLP size: expected a multiple of 8 on a GPU, found 52",
    );
}

/// Multipliers.
#[test]
fn granite_agrees_with_transformers() {
    agrees("granite");
    agrees_as_gguf("granite");
    agrees("gpu/granite");
}

/// Shares that do not add up to 1, one tensor an expert; shares that do; layers with experts and without, stacked experts, a window.
#[test]
fn qwen3_moe_agrees_with_transformers() {
    agrees("qwen3-moe");
    agrees_as_gguf("qwen3-moe");
    agrees("qwen3-moe-mixed");
}

#[test]
fn mixtral_agrees_with_transformers() {
    agrees("mixtral");
    agrees_as_gguf("mixtral");
    agrees("gpu/mixtral");
}

/// A prompt whose rows, three a token, fill several waves, against the same in chunks of one.
#[test]
fn experts_take_more_rows_than_a_wave_holds() {
    let folder = reference().join("tiny/qwen3-moe-mixed");
    let files = ModelFiles::Folder(folder.clone());
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let ids: Vec<u32> = vectors.ids.iter().copied().cycle().take(2900).collect();
    let weights = || files.open().unwrap();
    let cpu = Decoder::load(Cpu::new(Simd::detect()), weights(), &mut |_| {}).unwrap();
    let mut models: Vec<Box<dyn Model>> = vec![Box::new(cpu)];
    match Gpu::open(0, weights().config(), GpuOptions::default()) {
        Ok(gpu) => models.push(Box::new(Decoder::load(gpu, weights(), &mut |_| {}).unwrap())),
        Err(error) if has_no_device(&error) => eprintln!("SKIPPED on the GPU: {error}"),
        Err(error) => panic!("{error}"),
    }
    for model in models {
        let [whole, chunks] = [ids.len(), 400].map(|chunk| {
            let mut run = model.start(ids.len(), ids.len()).unwrap();
            for part in ids.chunks(chunk) {
                run.forward(part, PrefillAttention::default(), 0).unwrap();
            }
            run.logits((ids.len() - 1) % chunk).unwrap()
        });
        close(&whole, &chunks, &format!("several waves, {}", model.device_name()));
    }
}

#[test]
fn quantised_experts_agree_with_transformers() {
    let folder = reference().join("tiny/gpu/mixtral-q8_0");
    files_agree("gpu/mixtral-q8_0", &ModelFiles::Gguf(folder.join("model.gguf")), &folder);
}

#[test]
fn every_encoding_decodes_as_the_gguf_package_does() {
    #[derive(Deserialize)]
    struct Row {
        r#type: u32,
        name: String,
        bytes: Vec<u8>,
        values: Vec<f32>,
    }
    let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(reference().join("quant.json")).unwrap()).unwrap();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let encoding = Encoding::from_ggml(row.r#type).unwrap();
        let mut values = vec![0.0; row.values.len()];
        encoding.decode(&row.bytes, &mut values);
        for (i, (got, want)) in values.iter().zip(&row.values).enumerate() {
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-3), "{} element {i}: {got}, {want}", row.name);
        }
    }
}
