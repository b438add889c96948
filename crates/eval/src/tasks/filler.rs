//! Text that says nothing, as much of it as fits.

use crate::{Completer, EvalError};

pub(super) const FILLER: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";

/// The longest prompt of at most `limit` tokens that `write` makes of some number of fillers.
pub(super) fn fit(
    model: &impl Completer,
    limit: usize,
    write: impl Fn(usize) -> String,
) -> Result<Vec<u32>, EvalError> {
    let encode = |fillers: usize| model.encode(&write(fillers));
    let least = encode(0)?.len();
    if least > limit {
        return Err(EvalError::PromptTooShort { limit, least });
    }
    // Every filler costs the same number of tokens but for the places where texts meet, so the guess is nearly right.
    let per_filler = ((encode(16)?.len() - encode(8)?.len()) / 8).max(1);
    let mut fillers = (limit - least) / per_filler;
    let mut ids = encode(fillers)?;
    while ids.len() > limit {
        fillers -= 1;
        ids = encode(fillers)?;
    }
    loop {
        let longer = encode(fillers + 1)?;
        if longer.len() > limit {
            return Ok(ids);
        }
        (fillers, ids) = (fillers + 1, longer);
    }
}
