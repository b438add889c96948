//! A model for tests that takes as long as it is told.

use crate::Completer;
use runtime::chat_template::Message;
use runtime::engine::EngineError;
use runtime::request::{AttentionMode, FinishReason, Generation, Request, RunStats};

/// Answers nothing; `ttft_ms` says how long that takes, from prompt length, attention mode and the number of the run.
pub(super) struct ScriptedTimes<F> {
    pub ttft_ms: F,
    runs: usize,
}

impl<F: Fn(usize, AttentionMode, usize) -> f64> ScriptedTimes<F> {
    pub(super) fn new(ttft_ms: F) -> Self {
        Self { ttft_ms, runs: 0 }
    }
}

impl<F: Fn(usize, AttentionMode, usize) -> f64> Completer for ScriptedTimes<F> {
    fn max_context(&self) -> usize {
        1 << 17
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn can_chat(&self) -> bool {
        false
    }

    fn encode_chat(&self, _: &[Message], _: &str) -> Result<Vec<u32>, EngineError> {
        unreachable!("no chat is asked")
    }

    fn complete(&mut self, prompt: &[u32], request: &Request) -> Result<Generation, EngineError> {
        let ttft_ms = Some((self.ttft_ms)(prompt.len(), request.attention, self.runs));
        self.runs += 1;
        let stats = RunStats { prompt_tokens: prompt.len(), density: 1.0, ttft_ms, ..RunStats::default() };
        Ok(Generation {
            text: String::new(),
            tokens: Vec::new(),
            said_tokens: Vec::new(),
            finish_reason: FinishReason::End,
            stats,
        })
    }
}
