//! What an evaluation needs of a model.

use runtime::chat_template::Message;
use runtime::engine::{Engine, EngineError};
use runtime::request::{Generation, Request};
use std::ops::ControlFlow;

/// Completes prompts: the engine, or a scripted model in tests.
pub trait Completer {
    /// Longest sequence, prompt and new tokens together.
    fn max_context(&self) -> usize;
    /// Token ids of `text`, with the special tokens the model wants around a prompt.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError>;
    /// Whether the model has a chat template.
    fn can_chat(&self) -> bool;
    /// Token ids of a chat, as the model's template writes it, and of what the model's turn opens with.
    fn encode_chat(&self, messages: &[Message], opening: &str) -> Result<Vec<u32>, EngineError>;
    /// Whether prompts of so many tokens can have what `request` asks attention for.
    ///
    /// # Errors
    /// When its goal is none for them: a budget that no plan keeps.
    fn check_goal(&self, _request: &Request, _prompt_tokens: usize) -> Result<(), EngineError> {
        Ok(())
    }
    /// Counts the most memory held anew, for what is run next.
    fn forget_peak_memory(&mut self) {}
    /// Runs a prompt to the end.
    fn complete(&mut self, prompt: &[u32], request: &Request) -> Result<Generation, EngineError>;
}

impl Completer for Engine {
    fn max_context(&self) -> usize {
        self.config().max_context
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Engine::encode(self, text)
    }

    fn can_chat(&self) -> bool {
        self.has_chat_template()
    }

    fn encode_chat(&self, messages: &[Message], opening: &str) -> Result<Vec<u32>, EngineError> {
        self.encode_opened_chat(messages, opening)
    }

    fn check_goal(&self, request: &Request, prompt_tokens: usize) -> Result<(), EngineError> {
        self.search(request, prompt_tokens).map(drop)
    }

    fn forget_peak_memory(&mut self) {
        Engine::forget_peak_memory(self);
    }

    fn complete(&mut self, prompt: &[u32], request: &Request) -> Result<Generation, EngineError> {
        self.generate(prompt, request, &mut |_| ControlFlow::Continue(()))
    }
}
