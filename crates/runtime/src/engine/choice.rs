//! The next token of an answer: by what the model computed, within what the request allows.

use super::{Engine, EngineError};
use crate::constraint::{Allowed, CompiledConstraint, Constraint, Guide, Vocabulary};
use crate::log_probabilities::SaidToken;
use crate::logits::are_numbers;
use crate::model::{Outlook, Run};
use crate::request::Request;
use crate::sampling::Sampler;

/// How the tokens of one answer are chosen.
pub(super) struct Choice {
    sampler: Sampler,
    guide: Option<Guide>,
    /// So many others, where it shall be said how likely a token is.
    log_probabilities: Option<usize>,
}

/// How a request draws tokens behind a prompt.
///
/// # Errors
/// When a parameter is out of its range, or a biased token is not of the vocabulary.
pub(super) fn sampler(engine: &Engine, request: &Request, prompt: &[u32]) -> Result<Sampler, EngineError> {
    let vocab_size = engine.config().vocab_size;
    if let Some(&id) = request.logit_bias.keys().find(|id| **id as usize >= vocab_size) {
        return Err(EngineError::Token { id, vocab_size });
    }
    Ok(Sampler::new(request.sampling)?
        .with_repetition_penalty(request.repetition_penalty, prompt)?
        .with_answer_penalties(request.frequency_penalty, request.presence_penalty)?
        .with_logit_bias(&request.logit_bias)?)
}

/// What was chosen.
pub(super) enum Chosen {
    /// A token; where that was asked for, how likely it is.
    Token(u32, Option<SaidToken>),
    /// Nothing: the answer is whole by its constraint.
    End,
    /// Nothing: the model says nothing.
    NoNumber,
}

impl Choice {
    /// # Errors
    /// When a parameter is out of its range, a biased token is not of the vocabulary, or the constraint is another model's.
    pub fn new(engine: &Engine, request: &Request, prompt: &[u32]) -> Result<Self, EngineError> {
        let sampler = sampler(engine, request, prompt)?;
        let constraint = request.constraint.as_ref();
        let guide = constraint.map(|constraint| Guide::new(constraint, engine.vocabulary.get())).transpose()?;
        Ok(Self { sampler, guide, log_probabilities: request.log_probabilities })
    }

    /// Whether a constraint says where the answer may end.
    pub fn is_constrained(&self) -> bool {
        self.guide.is_some()
    }

    /// Whether the next token is the most likely one, and no more is to be known of it.
    pub fn takes_the_likeliest(&self) -> bool {
        self.guide.is_none() && self.log_probabilities.is_none() && self.sampler.takes_the_likeliest()
    }

    /// What this needs to know of the token after `token` of a run's last chunk.
    ///
    /// # Errors
    /// What the device says.
    pub fn look(&self, run: &mut dyn Run, token: usize) -> Result<Outlook, EngineError> {
        Ok(match self.takes_the_likeliest() {
            true => Outlook::Likeliest(run.likeliest(token)?),
            false => Outlook::Logits(run.logits(token)?),
        })
    }

    /// Behind a text of so many characters.
    ///
    /// # Errors
    /// When the constraint cannot be followed any further.
    pub fn next(&mut self, outlook: Outlook, chars: usize) -> Result<Chosen, EngineError> {
        let mut logits = match outlook {
            Outlook::Likeliest(id) => return Ok(id.map_or(Chosen::NoNumber, |id| Chosen::Token(id, None))),
            Outlook::Logits(logits) => logits,
        };
        if !are_numbers(&logits) {
            return Ok(Chosen::NoNumber);
        }
        // As the model has them: a constraint changes them.
        let unchanged = self.log_probabilities.map(|others| (logits.clone(), others));
        if let Some(guide) = &mut self.guide
            && guide.narrow(&mut logits)? == Allowed::End
        {
            return Ok(Chosen::End);
        }
        let Some(id) = self.sampler.sample(&logits) else { return Ok(Chosen::NoNumber) };
        Ok(Chosen::Token(id, unchanged.map(|(logits, others)| SaidToken::new(&logits, id, others, chars))))
    }

    /// Goes on behind a token of the answer; whether it is whole with it.
    ///
    /// # Errors
    /// When the constraint cannot be followed any further.
    pub fn take(&mut self, token: u32) -> Result<bool, EngineError> {
        Ok(self.guide.as_mut().map_or(Ok(false), |guide| guide.take(token))?)
    }
}

impl Engine {
    /// Compiles what answers of this model must look like ([`Request::constraint`]); by the thread that asks, and a while where it is
    /// the first.
    ///
    /// # Errors
    /// When it is no constraint, one that is not known, or one that takes too much.
    pub fn constrain(&self, constraint: &Constraint) -> Result<CompiledConstraint, EngineError> {
        let vocabulary = match self.vocabulary.get() {
            Some(vocabulary) => vocabulary,
            None => {
                let vocabulary = Vocabulary::new(&self.tokenizer)?;
                self.vocabulary.get_or_init(|| vocabulary)
            }
        };
        Ok(CompiledConstraint::new(vocabulary, constraint)?)
    }
}
