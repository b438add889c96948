//! What a prompt got: the attention that its prefill kept, by exact rows that took no part in choosing it.

use attention::receipt::{Drawn, Kept};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The rows of each layer, and what they took.
#[derive(Clone, Debug, Default)]
pub struct LayerDraws {
    /// By layer.
    layers: BTreeMap<usize, Drawn>,
    /// Time to compute them.
    time: Duration,
}

/// Attention that a prefill kept, as a share of all attention: mean over queries, heads and layers, centres count nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The whole prompt.
    #[serde(flatten)]
    pub all: Kept,
    /// Part of the prefill spent on it (wall time).
    pub receipt_ms: f64,
    /// Each layer, the first one first.
    pub layers: Vec<Kept>,
}

impl LayerDraws {
    /// One layer of one chunk.
    pub fn of_layer(layer: usize, drawn: Drawn, time: Duration) -> Self {
        Self { layers: BTreeMap::from([(layer, drawn)]), time }
    }

    /// What they say.
    pub fn receipt(&self) -> Receipt {
        let started = Instant::now();
        let mut drawn = Drawn::default();
        self.layers.values().for_each(|layer| drawn += layer.clone());
        let (all, layers) = (drawn.kept(), self.layers.values().map(Drawn::kept).collect());
        Receipt { all, receipt_ms: (self.time + started.elapsed()).as_secs_f64() * 1e3, layers }
    }
}

impl std::ops::AddAssign for LayerDraws {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        for (layer, drawn) in other.layers {
            *self.layers.entry(layer).or_default() += drawn;
        }
    }
}
