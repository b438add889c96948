//! One model, loaded; prompts in, text out.

use crate::config::ModelConfig;
use crate::request::{Device, Event, Generation, Request};
use crate::sampling::Sampling;

/// How to load a model.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where it runs.
    pub device: Device,
    /// Worker threads; 0 takes one for each core.
    pub threads: usize,
    /// Prompt tokens that go through the layers together.
    pub chunk_tokens: usize,
    /// Refuse work that would need more; `None` takes what the machine has free.
    pub max_memory_bytes: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { device: Device::Auto, threads: 0, chunk_tokens: 2048, max_memory_bytes: None }
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug)]
pub struct LoadProgress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What went wrong; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not there yet.
    #[error("not there yet")]
    Todo,
}

/// A message of a chat.
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text.
    pub content: String,
}

/// A loaded model.
pub struct Engine {
    config: ModelConfig,
}

impl Engine {
    /// Loads a model: a GGUF file, a Hugging Face folder or a Hugging Face id.
    pub fn load(
        _model: &str,
        _options: &EngineOptions,
        _progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, EngineError> {
        Err(EngineError::Todo)
    }
    /// Name for results.
    pub fn model_name(&self) -> &str {
        "?"
    }
    /// `cpu (amx-bf16, 2 threads)`.
    pub fn device_name(&self) -> &str {
        "?"
    }
    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// Token ids of `text`, special tokens parsed; the model's BOS is added when it asks for one.
    pub fn encode(&self, _text: &str) -> Result<Vec<u32>, EngineError> {
        Err(EngineError::Todo)
    }
    /// Text of tokens.
    pub fn decode(&self, _tokens: &[u32]) -> Result<String, EngineError> {
        Err(EngineError::Todo)
    }
    /// The chat as the model's template writes it, ready for the assistant's turn.
    pub fn render_chat(&self, _messages: &[Message]) -> Result<String, EngineError> {
        Err(EngineError::Todo)
    }
    /// Memory a run of this many tokens will hold, weights included.
    pub fn predicted_memory_bytes(&self, _tokens: usize) -> u64 {
        0
    }
    /// Runs a prompt.
    pub fn generate(
        &mut self,
        _prompt: &[u32],
        _request: &Request,
        _events: &mut dyn FnMut(Event),
    ) -> Result<Generation, EngineError> {
        let _ = Sampling::Greedy;
        Err(EngineError::Todo)
    }
}
