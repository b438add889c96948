//! What is added to logits, or taken from them, before a token is drawn.

use std::collections::{BTreeMap, HashMap, HashSet};

/// What changes logits, and the tokens that it depends on.
#[derive(Default)]
pub(super) struct Adjustments {
    repetition: Option<RepetitionPenalty>,
    /// Taken for each time that a token was drawn.
    frequency: f32,
    /// Taken once where a token was drawn.
    presence: f32,
    /// Added to logits of tokens.
    bias: BTreeMap<u32, f32>,
    /// How often each was drawn, where that matters.
    drawn: HashMap<u32, u32>,
}

struct RepetitionPenalty {
    penalty: f32,
    seen: HashSet<u32>,
}

impl Adjustments {
    pub fn with_repetition(self, penalty: f32, prompt: &[u32]) -> Self {
        let seen = || prompt.iter().copied().collect();
        Self { repetition: (penalty != 1.0).then(|| RepetitionPenalty { penalty, seen: seen() }), ..self }
    }

    pub fn with_answer_penalties(self, frequency: f32, presence: f32) -> Self {
        Self { frequency, presence, ..self }
    }

    pub fn with_bias(self, bias: BTreeMap<u32, f32>) -> Self {
        Self { bias, ..self }
    }

    fn counts(&self) -> bool {
        self.frequency != 0.0 || self.presence != 0.0
    }

    /// Whether nothing changes, whatever is drawn.
    pub fn are_none(&self) -> bool {
        self.repetition.is_none() && self.bias.is_empty() && !self.counts()
    }

    /// The logits that a token is drawn by; nothing where they are those that were given.
    pub fn apply(&self, logits: &[f32]) -> Option<Vec<f32>> {
        if self.repetition.is_none() && self.drawn.is_empty() && self.bias.is_empty() {
            return None;
        }
        let mut logits = logits.to_vec();
        // A token outside the vocabulary is for whoever checks the request.
        let mut change = |token: u32, changed: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = changed(*logit);
            }
        };
        if let Some(RepetitionPenalty { penalty, seen }) = &self.repetition {
            let changed = |logit: f32| if logit < 0.0 { logit * penalty } else { logit / penalty };
            seen.iter().for_each(|&token| change(token, &changed));
        }
        for (&token, &times) in &self.drawn {
            change(token, &|logit| logit - self.presence - times as f32 * self.frequency);
        }
        for (&token, &added) in &self.bias {
            change(token, &|logit| logit + added);
        }
        Some(logits)
    }

    /// Goes on behind a token.
    pub fn take(&mut self, token: u32) {
        if let Some(repetition) = &mut self.repetition {
            repetition.seen.insert(token);
        }
        if self.counts() {
            *self.drawn.entry(token).or_default() += 1;
        }
    }
}
