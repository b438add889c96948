//! What the prefill says in which all variants work on the same queries and keys.

use super::HeadRow;
use crate::bench::contest::{HeadSums, Outcome};
use crate::statistics::mean;
use serde::{Deserialize, Serialize};

/// What a contest says of a text at one length.
#[derive(Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) dense: Vec<Layer>,
    /// By variant, the full search first.
    pub(super) variants: Vec<Vec<Layer>>,
    /// What the full search chose.
    pub(super) atlas: Vec<HeadRow>,
}

impl Measured {
    pub(super) fn of(outcome: &Outcome, variants: usize, text: &str, length: usize) -> Self {
        Self {
            dense: layers(outcome, None),
            variants: (0..variants).map(|n| layers(outcome, Some(n))).collect(),
            atlas: atlas(text, length, outcome),
        }
    }
}

/// Of one layer under one variant.
#[derive(Serialize, Deserialize)]
pub(super) struct Layer {
    pub(super) density: f64,
    pub(super) recall: f64,
    pub(super) error: f64,
    pub(super) ms: f64,
}

/// All layers of a contestant, or of dense.
fn layers(outcome: &Outcome, contestant: Option<usize>) -> Vec<Layer> {
    let Some(n) = contestant else {
        return outcome
            .dense_times_ms()
            .iter()
            .map(|&ms| Layer { density: 1.0, recall: 1.0, error: 0.0, ms })
            .collect();
    };
    let heads: Vec<(usize, &HeadSums)> = outcome.heads(n).map(|(layer, _, sums)| (layer, sums)).collect();
    let by_layer = heads.chunk_by(|(a, _), (b, _)| a == b).zip(outcome.times_ms(n));
    by_layer
        .map(|(heads, ms)| {
            // All heads of a layer have as many pairs.
            let mean = |value: fn(&HeadSums) -> f64| mean(heads.iter().map(|(_, sums)| value(sums)));
            Layer { density: mean(HeadSums::density), recall: mean(HeadSums::recall), error: mean(HeadSums::error), ms }
        })
        .collect()
}

fn atlas(text: &str, length: usize, outcome: &Outcome) -> Vec<HeadRow> {
    let row = |(layer, head, sums): (usize, usize, &HeadSums)| HeadRow {
        text: text.into(),
        length,
        layer,
        head,
        pattern: sums.pattern().into(),
        density: sums.density(),
        recall: sums.recall(),
        error: sums.error(),
    };
    outcome.heads(0).map(row).collect()
}
