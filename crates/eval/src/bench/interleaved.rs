//! The one way in which everything here is timed.
//!
//! Each *round* runs every case once before the next round begins, every other round backwards: a machine that grows slower
//! or faster, evenly or now and then, treats all cases alike, and times of one round may be compared as pairs. The text is
//! the user's or a passkey prompt, cut to each length; its own first words warm the machine up once, untimed.

use crate::tasks::passkey;
use crate::{Completer, EvalError, LEAST_ROUNDS};
use runtime::request::{AttentionMode, Goal, Request, RunStats};

/// Something to time: a prompt of so many tokens under an attention mode.
pub(super) type Case = (usize, AttentionMode);

/// Tokens of the untimed first run.
const WARM_UP_TOKENS: usize = 256;

/// A warm model and a text.
pub(super) struct Interleaved<'a, M> {
    model: &'a mut M,
    text: Vec<u32>,
    goal: Goal,
}

impl<'a, M: Completer> Interleaved<'a, M> {
    /// Makes ready for prompts of these lengths, the beginnings of `text`, given with its name, if it is there.
    pub(super) fn new(
        model: &'a mut M,
        lengths: &[usize],
        goal: Goal,
        text: Option<&(String, String)>,
    ) -> Result<Self, EvalError> {
        let longest = longest(model, lengths)?;
        let text = match text {
            None => prompt(model, lengths)?,
            Some((name, text)) => {
                let ids = model.encode(text)?;
                if ids.len() < longest {
                    return Err(EvalError::TextTooShort { name: name.clone(), length: longest, tokens: ids.len() });
                }
                ids
            }
        };
        // To no goal in particular: a budget for the lengths asked for may be too small for so few tokens.
        let request = Request { max_tokens: 1, ..Request::default() };
        model.complete(&text[..WARM_UP_TOKENS.min(model.max_context()).min(text.len())], &request)?;
        Ok(Self { model, text, goal })
    }

    /// Times every case `runs` times; `done` is told after each run. For each case its runs, in the order of the rounds.
    pub(super) fn time(
        &mut self,
        cases: &[Case],
        runs: usize,
        done: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<RunStats>>, EvalError> {
        if runs == 0 {
            return Err(EvalError::Nothing("the number of runs"));
        }
        // All of them first: a goal that one cannot have is told before the others have run.
        for &(length, attention) in cases {
            self.model.check_goal(&self.request(attention), length)?;
        }
        let mut stats = vec![Vec::new(); cases.len()];
        for round in 0..runs {
            for step in 0..cases.len() {
                let n = if round % 2 == 0 { step } else { cases.len() - 1 - step };
                stats[n].push(self.run(cases[n])?);
                done();
            }
        }
        Ok(stats)
    }

    fn request(&self, attention: AttentionMode) -> Request {
        Request { max_tokens: 1, attention, goal: self.goal, ..Request::default() }
    }

    fn run(&mut self, (length, attention): Case) -> Result<RunStats, EvalError> {
        let request = self.request(attention);
        // Without, every run would show what the longest before it held.
        self.model.forget_peak_memory();
        let stats = self.model.complete(&self.text[..length], &request)?.stats;
        if stats.ttft_ms.is_some() { Ok(stats) } else { Err(EvalError::NoToken) }
    }
}

/// A text that holds prompts of these lengths, and one to warm up on.
pub(super) fn prompt(model: &impl Completer, lengths: &[usize]) -> Result<Vec<u32>, EvalError> {
    let longest = longest(model, lengths)?;
    // A little longer than needed, then cut: every length is met to the token.
    Ok(model.encode(&passkey::prompt(model, longest.max(WARM_UP_TOKENS) + 256, 0.5, "12345")?)?)
}

/// The longest of some lengths, all of which the model can hold.
fn longest(model: &impl Completer, lengths: &[usize]) -> Result<usize, EvalError> {
    if lengths.is_empty() || lengths.contains(&0) {
        return Err(EvalError::Nothing("the list of lengths"));
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if longest > model.max_context() {
        return Err(EvalError::BeyondContext { length: longest, max_context: model.max_context() });
    }
    Ok(longest)
}

/// Times to first token, by round.
pub(super) fn ttft_ms(runs: &[RunStats]) -> Vec<f64> {
    runs.iter().map(|run| run.ttft_ms.expect("`Interleaved` keeps no run without a token")).collect()
}

/// Fails where an interval would mean nothing.
pub(super) fn check_rounds(runs: usize) -> Result<(), EvalError> {
    if runs < LEAST_ROUNDS { Err(EvalError::TooFewRounds { runs }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;
    use AttentionMode::{Dense, Sparse};

    #[test]
    fn rounds_go_there_and_back() {
        let mut model = ScriptedModel::default();
        let cases = [(300, Dense), (300, Sparse), (1000, Dense)];
        let mut heard = 0;
        let stats = Interleaved::new(&mut model, &[300, 1000], Goal::default(), None)
            .and_then(|mut timing| timing.time(&cases, 3, &mut || heard += 1))
            .unwrap();
        assert_eq!((heard, stats.len(), stats[2].len()), (9, 3, 3));
        let back = [cases[2], cases[1], cases[0]];
        assert_eq!(model.requests[1..], [cases, back, cases].concat());
        assert_eq!(ttft_ms(&stats[1]), [150.0; 3]);
    }

    #[test]
    fn prompts_are_the_beginnings_of_a_text_that_is_given() {
        let text = ("numbers".to_string(), "0123456789".repeat(50));
        let mut model = ScriptedModel::default();
        let mut new = |lengths: &[usize]| {
            Interleaved::new(&mut model, lengths, Goal::default(), Some(&text)).map(|timing| timing.text)
        };
        let ids = new(&[20, 500]).unwrap();
        assert_eq!(ScriptedModel::text(&ids), text.1);
        let Err(EvalError::TextTooShort { name, length, tokens }) = new(&[20, 501]) else { panic!("too short") };
        assert_eq!((name.as_str(), length, tokens), ("numbers", 501, 500));
        assert!(matches!(new(&[9000]), Err(EvalError::BeyondContext { .. })));
    }
}
