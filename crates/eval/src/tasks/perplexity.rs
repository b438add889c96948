//! How surprised the model is by the end of a long text, dense against sparse.

use crate::EvalError;
use crate::samples::{Key, Samples};
use crate::statistics::mean;
use attention::receipt::Kept;
use runtime::engine::Engine;
use runtime::request::{AttentionMode, Goal, Request};
use serde::{Deserialize, Serialize};

/// What to rate.
#[derive(Clone, Debug)]
pub struct Perplexity {
    /// Name and content of each text; each must hold the longest length.
    pub texts: Vec<(String, String)>,
    /// Lengths in tokens; each text is cut there.
    pub lengths: Vec<usize>,
    /// Tokens at the end that are rated.
    pub tail: usize,
    /// Attention modes to pair.
    pub attention: Vec<AttentionMode>,
    /// What sparse attention aims at.
    pub goal: Goal,
    /// Seed of the rows that say what attention was kept; nothing draws none.
    pub receipt: Option<u64>,
}

/// One text at one length under one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the text.
    pub text: String,
    /// Tokens.
    pub length: usize,
    /// Attention mode.
    pub attention: AttentionMode,
    /// Mean negative log-likelihood of the tail, nats a token.
    pub nll: f64,
    /// Tokens rated.
    pub n: usize,
    /// NLL over that of dense attention on the same text, minus one; nothing without dense.
    pub relative_to_dense: Option<f64>,
    /// Half the width of the 95% interval of `relative_to_dense`, from the paired differences of the tokens.
    pub ci95: Option<f64>,
    /// Computed pairs over causal pairs.
    pub density: f64,
    /// Attention kept, by a receipt; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Time of attention, search included.
    pub attention_ms: f64,
}

/// What is kept of a text at one length under one mode: every token, since intervals are of pairs of tokens.
#[derive(Serialize, Deserialize)]
struct Rated {
    /// Name of the text.
    text: String,
    /// Negative log-likelihood of each token of the tail, nats.
    nll: Vec<f64>,
    density: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
    attention_ms: f64,
}

impl Perplexity {
    /// Rates everything that `kept` has not; `done` hears each row, in order.
    ///
    /// # Errors
    /// When there is nothing to rate, a text is too short, a rating cannot be kept, or the engine refuses.
    pub fn run(
        &self,
        engine: &mut Engine,
        kept: &mut Samples,
        done: &mut dyn FnMut(&Row),
    ) -> Result<Vec<Row>, EvalError> {
        for (empty, what) in [
            (self.texts.is_empty(), "the list of texts"),
            (self.lengths.iter().all(|length| *length < 2), "the list of lengths"),
            (self.tail == 0, "the number of tokens to rate"),
            (self.attention.is_empty(), "the list of attention modes"),
        ] {
            if empty {
                return Err(EvalError::Nothing(what));
            }
        }
        // All of them first: a budget that is too small for one is told before hours of others.
        let request = |attention| Request { attention, goal: self.goal, receipt: self.receipt, ..Request::default() };
        for (&length, &attention) in
            self.lengths.iter().flat_map(|length| self.attention.iter().map(move |mode| (length, mode)))
        {
            engine.search(&request(attention), length)?;
        }
        let mut rows = Vec::new();
        for (index, (name, text)) in self.texts.iter().enumerate() {
            let ids = engine.encode(text)?;
            for &length in &self.lengths {
                let Some(ids) = ids.get(..length) else {
                    return Err(EvalError::TextTooShort { name: name.clone(), length, tokens: ids.len() });
                };
                let mut dense: Option<Vec<f64>> = None;
                for &attention in &self.attention {
                    let key = Key { task: "perplexity".into(), length, index, seed: 0, mode: attention.to_string() };
                    let rated = kept.once(key, || {
                        let (nll, stats) = engine.tail_nll(ids, self.tail, &request(attention))?;
                        let attention_ms = stats.search_ms + stats.attention_ms;
                        let kept = stats.receipt.map(|receipt| receipt.all);
                        Ok(Rated { text: name.clone(), nll, density: stats.density, kept, attention_ms })
                    })?;
                    let Rated { nll, density, kept, attention_ms, .. } = rated;
                    if attention == AttentionMode::Dense {
                        dense = Some(nll.clone());
                    }
                    let beside = dense.as_ref().and_then(|dense| compare(&nll, dense));
                    rows.push(Row {
                        text: name.clone(),
                        length,
                        attention,
                        nll: mean(nll.iter().copied()),
                        n: nll.len(),
                        relative_to_dense: beside.map(|(relative, _)| relative),
                        ci95: beside.map(|(_, half_width)| half_width),
                        density,
                        kept,
                        attention_ms,
                    });
                    done(&rows[rows.len() - 1]);
                }
            }
        }
        Ok(rows)
    }
}

/// Relative change of the mean, and half the width of its 95% interval; nothing where dense attention is never surprised.
fn compare(nll: &[f64], dense: &[f64]) -> Option<(f64, f64)> {
    let base = mean(dense.iter().copied());
    let differences: Vec<f64> = nll.iter().zip(dense).map(|(a, b)| a - b).collect();
    let change = mean(differences.iter().copied());
    let variance = mean(differences.iter().map(|d| (d - change).powi(2)));
    (base > 0.0).then(|| (change / base, 1.96 * (variance / differences.len() as f64).sqrt() / base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_is_relative_and_its_interval_is_that_of_the_pairs() {
        let dense = [2.0, 4.0, 6.0, 8.0];
        let (change, half_width) = compare(&[2.1, 4.1, 6.1, 8.1], &dense).unwrap();
        assert!((change - 0.02).abs() < 1e-12 && half_width < 1e-12, "every token by the same");
        let (change, half_width) = compare(&[3.0, 3.0, 7.0, 7.0], &dense).unwrap();
        assert_eq!(compare(&[0.5], &[0.0]), None);
        assert!(change.abs() < 1e-12 && (half_width - 1.96 * 0.5 / 5.0).abs() < 1e-12);
    }
}
