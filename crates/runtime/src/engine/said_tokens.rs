//! Tokens of an answer as they become its text.

use crate::log_probabilities::SaidToken;
use crate::request::{Event, Events};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Tokens that were chosen, of which those are told whose text is said: not those of a stop text.
#[derive(Default)]
pub(super) struct SaidTokens {
    held: VecDeque<SaidToken>,
    said: Vec<SaidToken>,
    /// Characters of all tokens so far, said or not.
    pub chars: usize,
    said_chars: usize,
}

impl SaidTokens {
    /// A token was chosen.
    pub fn hold(&mut self, token: SaidToken) {
        self.held.push_back(token);
    }

    /// So much more text is said; tells of the tokens that it begins with or goes on with.
    pub fn say(&mut self, piece: &str, events: &mut Events) -> ControlFlow<()> {
        self.said_chars += piece.chars().count();
        let said = self.held.partition_point(|token| token.text_offset < self.said_chars);
        self.tell(said, events)
    }

    /// There is no more text; tells of tokens without any.
    pub fn say_rest(&mut self, events: &mut Events) -> ControlFlow<()> {
        self.tell(self.held.len(), events)
    }

    /// Those that were told.
    pub fn into_said(self) -> Vec<SaidToken> {
        self.said
    }

    fn tell(&mut self, count: usize, events: &mut Events) -> ControlFlow<()> {
        for token in self.held.drain(..count) {
            let flow = events(Event::Token(&token));
            self.said.push(token);
            if flow.is_break() {
                return flow;
            }
        }
        ControlFlow::Continue(())
    }
}
