//! What an engine is to be.

use crate::config::StretchContext;
use crate::model_files::HubProgress;
use crate::precision::{AttentionPrecision, Products, Quantization};
use crate::request::Device;
use crate::weights::RandomWeights;

/// How to load a model.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where it runs.
    pub device: Device,
    /// Worker threads; 0 takes one for each core.
    pub threads: usize,
    /// Prompt tokens that go through the layers together; `None` takes what suits the device.
    pub chunk_tokens: Option<usize>,
    /// Read longer prompts than the model was trained for.
    pub stretch: Option<StretchContext>,
    /// Tokens of the context, prompt and answer together, in place of what the files say: for files that are wrong.
    pub context: Option<usize>,
    /// Weights of no training, of the shape that a `config.json` says; the model is that file, or a folder with one.
    pub random_weights: Option<RandomWeights>,
    /// Round the weights of layers when they are loaded; GPUs only.
    pub quantization: Option<Quantization>,
    /// In what attention multiplies; 8-bit floats on GPUs of compute capability 9.0 only.
    pub attention_precision: AttentionPrecision,
    /// In what quantised weights and many tokens multiply; CPUs only.
    pub products: Products,
    /// Say what time matrix products and the stages of the search take; GPUs only, a few percent slower on short prompts.
    pub profile: bool,
    /// Refuse work that would need more; `None` takes what the machine has free.
    pub max_memory_bytes: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            threads: 0,
            chunk_tokens: None,
            stretch: None,
            context: None,
            random_weights: None,
            quantization: None,
            attention_precision: AttentionPrecision::Bf16,
            products: Products::Auto,
            profile: false,
            max_memory_bytes: None,
        }
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug)]
pub enum LoadProgress<'a> {
    /// The model comes from a hub first.
    Hub(HubProgress<'a>),
    /// Layers go to the device.
    Layers {
        /// Layers that are there.
        done: u64,
        /// Layers of the model.
        total: u64,
    },
}
