//! How likely the model found the tokens of an answer, and others in their places.

use std::cmp::Ordering;

/// A token that may stand at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LikelyToken {
    /// Its id.
    pub id: u32,
    /// Natural logarithm of its probability; minus infinity where the model rules it out.
    pub log_probability: f64,
}

/// A token of an answer, and what the model thought of its place: by its logits as they are, before any constraint, penalty, bias or
/// temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct SaidToken {
    /// The token.
    pub token: LikelyToken,
    /// The most likely tokens of the place, the likeliest first and the lower id first among equals.
    pub most_likely: Vec<LikelyToken>,
    /// Characters of the answer before the one that it begins, or goes on with.
    pub text_offset: usize,
}

impl SaidToken {
    /// One that stands where the model computed these logits, all of them numbers; with so many others.
    ///
    /// # Panics
    /// Where the token has no logit.
    pub(crate) fn new(logits: &[f32], id: u32, others: usize, text_offset: usize) -> Self {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        // The mathematics of this crate, as for drawing.
        let sum: f64 = logits.iter().map(|&logit| libm::exp(logit as f64 - top)).sum();
        let normaliser = top + libm::log(sum);
        let likely = |id: u32| LikelyToken { id, log_probability: logits[id as usize] as f64 - normaliser };
        let most_likely = most_likely(logits, others).into_iter().map(likely).collect();
        Self { token: likely(id), most_likely, text_offset }
    }
}

fn most_likely(logits: &[f32], count: usize) -> Vec<u32> {
    let order = |a: &u32, b: &u32| -> Ordering {
        let logit = |id: &u32| logits[*id as usize];
        logit(b).total_cmp(&logit(a)).then(a.cmp(b))
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if count < ids.len() {
        ids.select_nth_unstable_by(count, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_shares_of_the_whole_and_the_likeliest_come_first() {
        // 1, 4, 2, 4 and 5 of 16; and one that cannot be.
        let logits = [1f32, 4.0, 2.0, 4.0, 5.0, 0.0].map(|weight| weight.ln() + 30.0);
        let said = SaidToken::new(&logits, 2, 4, 7);
        let shares = |tokens: &[LikelyToken]| -> Vec<(u32, f64)> {
            let share = |token: &LikelyToken| (token.id, (token.log_probability.exp() * 16.0 * 1e4).round() / 1e4);
            tokens.iter().map(share).collect()
        };
        assert_eq!(shares(&[said.token]), [(2, 2.0)]);
        assert_eq!(shares(&said.most_likely), [(4, 5.0), (1, 4.0), (3, 4.0), (2, 2.0)]);
        assert_eq!(said.text_offset, 7);
        let all = SaidToken::new(&logits, 5, 99, 0);
        assert_eq!((all.most_likely.len(), all.token.log_probability), (6, f64::NEG_INFINITY));
        assert!((all.most_likely.iter().map(|token| token.log_probability.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(SaidToken::new(&logits, 0, 0, 0).most_likely.is_empty());
    }
}
