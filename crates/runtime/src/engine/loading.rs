//! From a name to a model on its device.

use super::{Engine, EngineError, EngineOptions, LoadProgress, Opened, Room};
use crate::chat_template::TemplateSource;
use crate::config::ModelConfig;
use crate::cpu::Cpu;
use crate::decoder::Decoder;
use crate::footprint::{MemoryNeed, WeightsNeed};
use crate::gpu::{Gpu, GpuOptions};
use crate::memory::Bytes;
use crate::model::Model;
use crate::model_files::ModelFiles;
use crate::ops::{Ops, OpsError};
use crate::precision::{AttentionPrecision, Products};
use crate::request::Device;
use crate::tokenizer::{TokenText, Tokenizer, TokenizerError};
use crate::weights::{LoadError, ModelWeights};
use attention::simd::Simd;
use attention::threads;
use std::sync::OnceLock;

impl Engine {
    /// Loads a model: a GGUF file, a Hugging Face folder or a Hugging Face id.
    ///
    /// # Errors
    /// When the files do not hold, the device is not there, or memory would not suffice; the last is known before any
    /// weight is read.
    pub fn load(
        model: &str,
        options: &EngineOptions,
        progress: &mut (dyn FnMut(LoadProgress) + Send),
    ) -> Result<Self, EngineError> {
        let Opened { weights, files, name, own_context } =
            Opened::open(model, options, &mut |step| progress(LoadProgress::Hub(step)))?;
        let options = options.clone();
        let gpu = open_gpu(&options, weights.config())?;
        let on_gpu = gpu.is_some();
        if on_gpu {
            gpu_has(&options)?;
        }
        // Before the tokenizer and the threads: where memory ends in those, libraries end the process.
        match &gpu {
            Some(gpu) => check_room_for_weights(gpu, &weights, &options, &name)?,
            None => {
                // What is faster is measured later, by the threads of the pool: here it would start a pool of its own.
                let cpu = Cpu::with_products(Simd::detect(), Products::Bf16, threads::count(options.threads));
                check_room_for_weights(&cpu, &weights, &options, &name)?;
                check_room_for_loading(&cpu, &weights, &name)?;
            }
        }
        let (tokenizer, template) = tokenizer_and_template(files.as_ref(), &weights)?;
        let pool = threads::pool(options.threads)?;
        let model: Box<dyn Model> = pool.install(|| match gpu {
            Some(gpu) => load_on(gpu, weights, &options, &name, progress),
            None => {
                let cpu = Cpu::with_products(Simd::detect(), options.products, threads::count(options.threads));
                load_on(cpu, weights, &options, &name, progress)
            }
        })?;
        let device_name = pool.install(|| model.device_name());
        let held_bytes = model.memory_need(1, 1, false).held_bytes();
        let costs = model.costs();
        let chunk_tokens = options.chunk_tokens.unwrap_or_else(|| model.chunk_tokens());
        Ok(Self {
            chunk_tokens,
            model,
            tokenizer,
            vocabulary: OnceLock::new(),
            template,
            pool,
            options,
            model_name: name,
            model_files: files,
            device_name,
            on_gpu,
            own_context,
            held_bytes,
            costs,
            peak_is_known: true,
        })
    }
}

/// What the files say of texts; of random weights, bytes are tokens.
fn tokenizer_and_template(
    files: Option<&ModelFiles>,
    weights: &ModelWeights,
) -> Result<(Tokenizer, Option<TemplateSource>), EngineError> {
    let Some(files) = files else { return Ok((Tokenizer::of_bytes()?, None)) };
    let tokenizer = match (files, weights.gguf()) {
        (_, Some(gguf)) => Tokenizer::from_gguf(gguf)?,
        (ModelFiles::Folder(folder) | ModelFiles::Gguf(folder), None) => Tokenizer::from_folder(folder)?,
    };
    let template = chat_template(files, weights, &tokenizer)?;
    Ok((tokenizer, template))
}

/// The template beside the weights: in GGUF metadata, `chat_template.jinja` or `tokenizer_config.json`.
fn chat_template(
    files: &ModelFiles,
    weights: &ModelWeights,
    tokenizer: &Tokenizer,
) -> Result<Option<TemplateSource>, EngineError> {
    #[derive(serde::Deserialize, Default)]
    struct TokenizerConfig {
        chat_template: Option<String>,
        bos_token: Option<TokenText>,
        eos_token: Option<TokenText>,
    }
    let text_of = |token: Option<TokenText>| token.map(TokenText::into_text).unwrap_or_default();
    let (source, bos, eos) = match (files, weights.gguf()) {
        (_, Some(gguf)) => {
            let key = "tokenizer.chat_template";
            let source = gguf.get(key).map(|_| gguf.text(key)).transpose().map_err(TokenizerError::from)?;
            let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
            (source.map(String::from), text(tokenizer.bos_id()), text(tokenizer.eos_ids().first().copied()))
        }
        (ModelFiles::Folder(folder) | ModelFiles::Gguf(folder), None) => {
            let path = folder.join("tokenizer_config.json");
            let config: TokenizerConfig = if path.exists() {
                crate::formats::read_json(&path).map_err(LoadError::from)?
            } else {
                TokenizerConfig::default()
            };
            let source = std::fs::read_to_string(folder.join("chat_template.jinja")).ok().or(config.chat_template);
            (source, text_of(config.bos_token), text_of(config.eos_token))
        }
    };
    Ok(source.map(|text| TemplateSource { text, bos, eos }))
}

fn check_room_for_weights<O: Ops>(
    ops: &O,
    weights: &ModelWeights,
    options: &EngineOptions,
    name: &str,
) -> Result<(), EngineError> {
    let bytes = WeightsNeed::of(ops.footprint(), weights)?.total_bytes();
    let room = Room { limit: options.max_memory_bytes, left: ops.available_bytes(), held: 0 };
    room.check(bytes, || format!("loading {name}"), || Bytes(bytes).to_string())
}

/// The same of the host, with what lies beside the weights meanwhile: past a limit of the system nobody returns an error.
fn check_room_for_loading(cpu: &Cpu, weights: &ModelWeights, name: &str) -> Result<(), EngineError> {
    let bytes = WeightsNeed::of(cpu.footprint(), weights)?.total_bytes() + MemoryNeed::of_loading(weights)?;
    let room = Room { limit: None, left: cpu.available_bytes(), held: 0 };
    room.check(bytes, || format!("loading {name}"), || Bytes(bytes).to_string())
}

/// Whether a CPU has what is asked for.
pub(crate) fn cpu_has(options: &EngineOptions) -> Result<(), OpsError> {
    match (options.quantization, options.attention_precision) {
        (Some(quantization), _) => Err(OpsError::Quantization { quantization }),
        (None, AttentionPrecision::Bf16) => Ok(()),
        (None, precision) => Err(OpsError::AttentionPrecision { precision }),
    }
}

/// Whether a GPU has what is asked for, beside what it says itself.
pub(crate) fn gpu_has(options: &EngineOptions) -> Result<(), OpsError> {
    match options.products {
        Products::Auto | Products::Bf16 => Ok(()),
        products => Err(OpsError::Products { products }),
    }
}

/// The GPU that `device` means, if it means one.
fn open_gpu(options: &EngineOptions, config: &ModelConfig) -> Result<Option<Gpu>, OpsError> {
    use cuda::Error;
    let &EngineOptions { profile, quantization, attention_precision, .. } = options;
    let open = |ordinal| Gpu::open(ordinal, config, GpuOptions { profile, quantization, attention_precision });
    let in_bf16 = attention_precision == AttentionPrecision::Bf16;
    match (options.device, quantization) {
        (Device::Cpu, _) => cpu_has(options).map(|()| None),
        (Device::Cuda(ordinal), _) => open(ordinal).map(Some),
        (Device::Auto, Some(_)) => open(0).map(Some),
        (Device::Auto, None) if !in_bf16 => open(0).map(Some),
        (Device::Auto, None) => match open(0) {
            Ok(gpu) => Ok(Some(gpu)),
            // No GPU, or none that can run this model.
            Err(OpsError::Cuda(
                Error::NoDriver | Error::NoDevice { .. } | Error::OldDriver { .. } | Error::Unsupported { .. },
            )) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

fn load_on<O: Ops>(
    ops: O,
    weights: ModelWeights,
    options: &EngineOptions,
    name: &str,
    progress: &mut (dyn FnMut(LoadProgress) + Send),
) -> Result<Box<dyn Model>, EngineError> {
    // Again: tokenizer and threads have taken theirs.
    check_room_for_weights(&ops, &weights, options, name)?;
    let total = weights.config().num_layers as u64;
    let decoder = Decoder::load(ops, weights, &mut |done| progress(LoadProgress::Layers { done: done as u64, total }))?;
    warm_up(&decoder, options)?;
    Ok(Box::new(decoder))
}

/// Warms a model up, unless memory is so scarce that only a shorter prompt would fit.
fn warm_up(model: &dyn Model, options: &EngineOptions) -> Result<(), EngineError> {
    let tokens = model.warm_up_tokens();
    if tokens == 0 {
        return Ok(());
    }
    let need = model.memory_need(2 * tokens, tokens, false);
    let room = Room { limit: options.max_memory_bytes, left: model.available_bytes(), held: need.held_bytes() };
    match room.check(need.total_bytes(), String::new, String::new) {
        Ok(()) => Ok(model.warm_up(tokens)?),
        Err(_) => Ok(()),
    }
}
