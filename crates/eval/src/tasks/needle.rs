//! Four numbers in a long text, one of which is asked for: the others are distractors that look alike (the multi-key
//! needle of RULER, arXiv 2404.06654).

use super::digits::digits;
use super::filler::{self, FILLER};
use crate::{Completer, EvalError};

const INSTRUCTION: &str = "Somewhere in the long text below stand the magic numbers of some cities. Find them and remember \
    them: one will be asked for at the end.\n\n";
const CITIES: [&str; 8] = ["Berlin", "Tokyo", "Lima", "Oslo", "Cairo", "Boston", "Delhi", "Rome"];
const KEYS: usize = 4;

/// A prompt of at most `limit` tokens that asks for the number `key`, which stands at `depth`; three other cities have
/// other numbers, a quarter of the text apart. `sample` decides which cities.
///
/// # Errors
/// When `limit` does not hold even the question, or the tokenizer refuses.
pub fn prompt(model: &impl Completer, limit: usize, depth: f64, sample: usize, key: &str) -> Result<String, EvalError> {
    let city = |n: usize| CITIES[(sample * 3 + n) % CITIES.len()];
    let mut needles: Vec<(f64, String)> = (0..KEYS)
        .map(|n| {
            let number = if n == 0 { key.into() } else { digits(key.parse().unwrap_or(0), n, sample) };
            let at = (depth + n as f64 / KEYS as f64) % 1.0;
            (at, format!("\nThe magic number of {} is {number}.\n", city(n)))
        })
        .collect();
    needles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let question = format!("\nWhat is the magic number of {0}? The magic number of {0} is", city(0));
    filler::fit(model, limit, |fillers| {
        let mut text = String::from(INSTRUCTION);
        let mut written = 0;
        for (depth, needle) in &needles {
            let before = (fillers as f64 * depth).round() as usize;
            text.push_str(FILLER.repeat(before - written).trim_end());
            text.push_str(needle);
            written = before;
        }
        text.push_str(FILLER.repeat(fillers - written).trim_end());
        text + &question
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_model::ScriptedModel;

    #[test]
    fn four_different_numbers_and_the_asked_one_at_its_depth() {
        let model = ScriptedModel::default();
        for (sample, depth) in [(0, 0.01), (1, 0.3), (2, 0.74), (5, 0.99)] {
            let text = prompt(&model, 6000, depth, sample, "12345").unwrap();
            assert!(text.len() <= 6000 && text.len() + FILLER.len() > 6000);
            let numbers: std::collections::BTreeSet<&str> =
                text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).collect();
            assert_eq!(numbers.len(), KEYS, "{numbers:?}");
            let at = text.find("12345").unwrap() as f64 / text.len() as f64;
            assert!((at - depth).abs() < 0.1, "asked for {depth}, stands at {at}");
            let asked = text.rsplit("number of ").next().unwrap().trim_end_matches(" is");
            assert!(text.contains(&format!("The magic number of {asked} is 12345.")));
        }
        assert!(matches!(prompt(&model, 20, 0.5, 0, "1"), Err(EvalError::PromptTooShort { .. })));
    }
}
