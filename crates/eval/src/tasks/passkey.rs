//! The paper's task (arXiv 2412.06198, section 4): one number in a long text.

use super::filler::{self, FILLER};
use crate::{Completer, EvalError};

const INSTRUCTION: &str = "Somewhere in the long text below stands a pass key. Find it and remember it: it will be asked \
    for at the end.\n\n";
const QUESTION: &str = "\nWhat is the pass key? The pass key is";

/// A passkey prompt of at most `limit` tokens, short of it by less than one filler: the number `key` at `depth` (0 to 1).
///
/// # Errors
/// When `limit` does not hold even the question, or the tokenizer refuses.
pub fn prompt(model: &impl Completer, limit: usize, depth: f64, key: &str) -> Result<String, EvalError> {
    filler::fit(model, limit, |fillers| {
        let before = (fillers as f64 * depth).round() as usize;
        // A line of its own: inside a line of filler, small models overlook it with dense attention too.
        let needle = format!("\nThe pass key is {key}. Remember it. {key} is the pass key.\n");
        let (before, after) = (FILLER.repeat(before), FILLER.repeat(fillers - before));
        [INSTRUCTION, before.trim_end(), &needle, after.trim_end(), QUESTION].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;

    #[test]
    fn prompts_fill_the_length_and_hold_the_key_at_its_depth() {
        let model = ScriptedModel::default();
        for limit in [350, 1000, 1003, 5000] {
            for depth in [0.01, 0.5, 0.99] {
                let text = prompt(&model, limit, depth, "12345").unwrap();
                assert!(text.len() <= limit && text.len() + FILLER.len() > limit, "{} of {limit}", text.len());
                assert_eq!(text.matches("12345").count(), 2);
                let fillers = text.matches(FILLER.trim_end()).count();
                let before = text[..text.find("12345").unwrap()].matches(FILLER.trim_end()).count();
                assert_eq!(before, (fillers as f64 * depth).round() as usize);
            }
        }
        assert!(matches!(prompt(&model, 20, 0.5, "1"), Err(EvalError::PromptTooShort { .. })));
    }
}
