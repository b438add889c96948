//! A model for tests: one token a byte, answers by a rule.

use crate::Completer;
use runtime::chat_template::Message;
use runtime::engine::EngineError;
use runtime::request::{AttentionMode, FinishReason, Generation, Goal, Request, RunStats};

/// Answers with the first number of the prompt; sparse attention sees only the second half of it.
#[derive(Default)]
pub(crate) struct ScriptedModel {
    pub requests: Vec<(usize, AttentionMode)>,
    /// Budgets need prompts of at least so many tokens.
    least_for_budgets: usize,
    /// A byte a token of the longest prompt since it was forgotten.
    peak_bytes: u64,
}

impl ScriptedModel {
    pub(crate) fn with_budgets_from(least_for_budgets: usize) -> Self {
        Self { least_for_budgets, ..Self::default() }
    }

    pub(crate) fn text(ids: &[u32]) -> String {
        ids.iter().map(|id| *id as u8 as char).collect()
    }
}

impl Completer for ScriptedModel {
    fn max_context(&self) -> usize {
        8192
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn can_chat(&self) -> bool {
        true
    }

    fn encode_chat(&self, messages: &[Message], opening: &str) -> Result<Vec<u32>, EngineError> {
        let contents: String = messages.iter().map(|message| message.content.as_str()).collect();
        self.encode(&(contents + opening))
    }

    fn check_goal(&self, request: &Request, prompt_tokens: usize) -> Result<(), EngineError> {
        match request.goal {
            Goal::Density(_) if request.attention != AttentionMode::Dense && prompt_tokens < self.least_for_budgets => {
                Err(EngineError::Budget { asked: request.goal.to_string(), least: "density=0.5".into(), prompt_tokens })
            }
            _ => Ok(()),
        }
    }

    fn forget_peak_memory(&mut self) {
        self.peak_bytes = 0;
    }

    fn complete(&mut self, prompt: &[u32], request: &Request) -> Result<Generation, EngineError> {
        self.requests.push((prompt.len(), request.attention));
        let dense = request.attention == AttentionMode::Dense;
        let seen = Self::text(if dense { prompt } else { &prompt[prompt.len() / 2..] });
        let number: String =
            seen.chars().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit()).collect();
        let density = if dense { 1.0 } else { 0.5 };
        let ttft_ms = Some(prompt.len() as f64 * density);
        self.peak_bytes = self.peak_bytes.max(prompt.len() as u64);
        let measured_memory_bytes = Some(self.peak_bytes);
        let stats =
            RunStats { prompt_tokens: prompt.len(), density, ttft_ms, measured_memory_bytes, ..RunStats::default() };
        Ok(Generation {
            text: format!(" {number}."),
            tokens: Vec::new(),
            said_tokens: Vec::new(),
            finish_reason: FinishReason::End,
            stats,
        })
    }
}
