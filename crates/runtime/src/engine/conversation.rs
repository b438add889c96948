//! A prompt that grows, as the turns of a chat do: what is cached of it is not read again.

use super::answer::Answer;
use super::choice::Choice;
use super::{Engine, EngineError};
use crate::model::Run;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{Events, Generation, Request};
use std::time::Instant;

/// Fewer tokens are no conversation.
const LEAST_TOKENS: usize = 1024;

/// Prompts that mostly begin as the one before and its answer did. Their keys and values stay on the device.
///
/// ```no_run
/// use runtime::chat_template::Message;
/// use runtime::engine::{Engine, EngineOptions};
/// use runtime::request::Request;
/// use std::ops::ControlFlow;
///
/// let engine = Engine::load("model.gguf", &EngineOptions::default(), &mut |_| {})?;
/// let mut conversation = engine.conversation()?;
/// let mut messages = Vec::new();
/// for question in ["What is a red panda?", "And what does it eat?"] {
///     messages.push(Message::user(question));
///     let prompt = engine.encode_chat(&messages)?;
///     let answer = conversation.answer(&prompt, &Request::default(), &mut |_| ControlFlow::Continue(()))?;
///     println!("{} ({} tokens were there already)", answer.text, answer.stats.cached_tokens);
///     messages.push(Message::assistant(answer.text));
/// }
/// # Ok::<(), runtime::engine::EngineError>(())
/// ```
pub struct Conversation<'e> {
    engine: &'e Engine,
    capacity: usize,
    /// Nothing before the first prompt, and behind an error.
    run: Option<Box<dyn Run + 'e>>,
    /// Tokens that the run holds.
    cached: Vec<u32>,
}

impl Engine {
    /// Begins a conversation, with room for the model's whole context or, where memory does not suffice, for as much of it as
    /// halving finds.
    ///
    /// # Errors
    /// When memory does not suffice for a conversation worth the name.
    pub fn conversation(&self) -> Result<Conversation<'_>, EngineError> {
        let mut capacity = self.config().max_context;
        while let Err(error) = self.check_room(capacity, true) {
            if capacity / 2 < LEAST_TOKENS {
                return Err(error);
            }
            capacity /= 2;
        }
        Ok(Conversation { engine: self, capacity, run: None, cached: Vec::new() })
    }
}

impl Conversation<'_> {
    /// Tokens that prompt and answer may have together.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that an answer to a prompt of this length may have.
    pub fn room_for_new_tokens(&self, prompt_len: usize) -> usize {
        // The last one is never fed back.
        (self.capacity + 1).saturating_sub(prompt_len)
    }

    /// Answers a prompt, and keeps both. Of the prompt, what begins as the last one and its answer did is not read again, however
    /// it was attended then.
    ///
    /// # Errors
    /// As [`Engine::generate`]. What was cached is then forgotten, where the work had begun.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        request: &Request,
        events: &mut Events,
    ) -> Result<Generation, EngineError> {
        let accepted = Instant::now();
        let Self { engine, capacity, .. } = *self;
        let choice = Choice::new(engine, request, prompt)?;
        engine.check_tokens(prompt, request.max_tokens, capacity)?;
        // The logits behind the last token are computed in any case.
        let common = self.cached.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
        let cached = self.run.as_mut().map_or(0, |run| {
            run.rewind(common, prompt.len());
            run.tokens_done()
        });
        self.cached.truncate(cached);
        let search = engine.search_behind(cached, request, prompt.len())?;
        let attention = PrefillAttention {
            receipt: request.receipt,
            ..PrefillAttention::from(AttentionPolicy::from(search.as_ref()))
        };
        engine.check_attention(attention)?;
        self.cached.clear();
        let held = self.run.take();
        let (generation, run) = engine.pool.install(|| -> Result<_, EngineError> {
            let run = held.map_or_else(|| engine.model.start(prompt.len(), capacity), Ok)?;
            let mut answer = Answer::new(engine, run, capacity, prompt, request, choice, accepted);
            while answer.step(attention, events)?.is_continue() {}
            let (generation, run) = answer.finish();
            Ok((generation, run.expect("no error came before")))
        })?;
        self.cached = [prompt, &generation.tokens].concat();
        self.cached.truncate(run.tokens_done());
        self.run = Some(run);
        Ok(generation)
    }

    /// Forgets everything; the next prompt is read from its beginning.
    pub fn reset(&mut self) {
        self.cached.clear();
        self.run = None;
    }
}
