//! What is told of a prompt while it is read.

use crate::prefill::chunk_len;
use crate::request::{Event, Events};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// Who listens, from within a chunk and between two; who has heard enough hears no more.
pub(super) struct Telling<'t, 'e> {
    listener: Mutex<Listener<'t, 'e>>,
    layers: usize,
    prompt_tokens: usize,
    chunk_tokens: usize,
}

struct Listener<'t, 'e> {
    events: &'t mut Events<'e>,
    flow: ControlFlow<()>,
    /// Tokens of the prompt that went through all layers.
    done_tokens: usize,
}

impl<'t, 'e> Telling<'t, 'e> {
    /// Of a prompt that is taken in chunks of `chunk_tokens` through so many layers, behind `cached_tokens` of it.
    pub fn new(
        events: &'t mut Events<'e>,
        layers: usize,
        prompt_tokens: usize,
        cached_tokens: usize,
        chunk_tokens: usize,
    ) -> Self {
        let listener = Listener { events, flow: ControlFlow::Continue(()), done_tokens: cached_tokens };
        Self { listener: Mutex::new(listener), layers, prompt_tokens, chunk_tokens }
    }

    /// So many layers are done with the chunk under way. Whether more shall.
    pub fn layer(&self, done_layers: usize) -> ControlFlow<()> {
        self.tell(|listener| {
            let done_tokens = listener.done_tokens;
            let (chunk_tokens, _) = chunk_len(done_tokens, self.prompt_tokens - done_tokens, self.chunk_tokens);
            Event::Layer { done_layers, layers: self.layers, done_tokens, chunk_tokens }
        })
    }

    /// So many tokens went through all layers. Whether more shall.
    pub fn chunk(&self, done_tokens: usize) -> ControlFlow<()> {
        self.tell(|listener| {
            listener.done_tokens = done_tokens;
            Event::Prefill { done_tokens, total_tokens: self.prompt_tokens }
        })
    }

    fn tell(&self, event: impl FnOnce(&mut Listener) -> Event<'static>) -> ControlFlow<()> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let event = event(&mut listener);
        if listener.flow.is_continue() {
            listener.flow = (listener.events)(event);
        }
        listener.flow
    }
}
