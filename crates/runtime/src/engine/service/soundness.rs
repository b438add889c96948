//! A panic ends the request that it came from; whether the engine can go on is tried, not believed.

use crate::engine::{Engine, EngineError};
use crate::logits::are_numbers;
use crate::policy::PrefillAttention;
use std::panic::{self, AssertUnwindSafe};

/// Runs work of one request; a panic of it is an error. What it had in hand is dropped, and what it shares with others is in doubt
/// until [`Soundness::holds`].
pub(super) fn isolated<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(EngineError::Panicked))
}

/// Tokens that every vocabulary has.
const PROBE: [u32; 4] = [0, 1, 0, 1];
/// Of the largest logit: more than the order of additions makes, less than any damage.
const TOLERANCE: f32 = 1e-2;

/// What the model says to a few tokens while nothing has gone wrong yet.
pub(super) struct Soundness {
    logits: Option<Vec<f32>>,
}

impl Soundness {
    /// As the engine is now.
    pub fn of(engine: &Engine) -> Self {
        Self { logits: isolated(|| probe(engine)).ok() }
    }

    /// Whether the engine still says the same. Where it could not say anything from the beginning, nobody knows.
    pub fn holds(&self, engine: &Engine) -> bool {
        match (&self.logits, isolated(|| probe(engine))) {
            (Some(before), Ok(now)) => are_alike(before, &now),
            _ => false,
        }
    }
}

fn probe(engine: &Engine) -> Result<Vec<f32>, EngineError> {
    engine.pool.install(|| {
        let mut run = engine.model.start(PROBE.len(), PROBE.len())?;
        run.forward(&PROBE, PrefillAttention::default(), 1)?;
        let logits = run.logits(PROBE.len() - 1)?;
        // Nobody's time.
        run.times()?;
        Ok(logits)
    })
}

fn are_alike(before: &[f32], now: &[f32]) -> bool {
    let largest = before.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    let near = |(before, now): (&f32, &f32)| (before - now).abs() <= TOLERANCE * largest;
    are_numbers(before) && before.len() == now.len() && before.iter().zip(now).all(near)
}
