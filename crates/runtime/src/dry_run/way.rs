//! What else could be asked for where memory does not suffice.

use super::{DryRun, Place, Prediction, Sizes};
use crate::engine::EngineError;
use crate::precision::{AttentionPrecision, Quantization};
use crate::request::AttentionMode;
use crate::weights::{ModelWeights, RandomWeights};

/// Shorter chunks take hardly less, and keep a device waiting.
const LEAST_CHUNK_TOKENS: usize = 256;

/// One change of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing is searched.
    DenseAttention,
    /// Attention multiplies in bf16.
    Bf16Attention,
    /// Prompts come in chunks of so many tokens.
    ChunkTokens(usize),
    /// Weights of layers are rounded when they are loaded.
    Quantization(Quantization),
    /// The model comes from a file with all matrices in 4 bits (GGUF's Q4_0), and is not rounded again.
    FourBitFile,
}

/// A change, and what a run takes then.
#[derive(Clone, Copy, Debug)]
pub struct WayOut {
    /// What is changed, and nothing else.
    pub way: Way,
    /// Of the run that was asked for, so changed.
    pub prediction: Prediction,
    /// The most tokens that fit then, up to those asked for.
    pub longest_context: Option<usize>,
}

impl DryRun {
    /// What a run of so many tokens would take with one thing changed, for everything that can be and takes less.
    pub fn ways_out(&self, tokens: usize, mode: AttentionMode) -> Vec<WayOut> {
        let asked = self.predict(tokens, mode);
        let less = |out: &WayOut| out.prediction.memory.total_bytes() < asked.memory.total_bytes();
        let quantization = match self.place {
            Place::Cpu => None,
            Place::Gpu { .. } => Some(Way::Quantization(Quantization::Fp8)),
        };
        let ways = [Way::DenseAttention, Way::Bf16Attention].into_iter().chain(quantization).chain([Way::FourBitFile]);
        // What a model or a device lacks is no way out.
        let out = |way| self.changed(way, tokens, mode).ok().filter(less);
        let shorter_chunks = || {
            let halves = std::iter::successors(Some(self.chunk_tokens() / 2), |chunk| Some(chunk / 2));
            let chunks = halves.take_while(|chunk| *chunk >= LEAST_CHUNK_TOKENS);
            let outs = chunks.filter_map(|chunk| out(Way::ChunkTokens(chunk)));
            // The longest that fits; where none does, the shortest.
            let mut last = None;
            for next in outs {
                last = Some(next);
                if next.prediction.fits {
                    break;
                }
            }
            last
        };
        ways.filter_map(out).chain(shorter_chunks()).collect()
    }

    fn changed(&self, way: Way, tokens: usize, mode: AttentionMode) -> Result<WayOut, EngineError> {
        let mut options = self.options.clone();
        let (mut mode, mut other_weights) = (mode, None);
        match way {
            Way::DenseAttention => mode = AttentionMode::Dense,
            Way::Bf16Attention => options.attention_precision = AttentionPrecision::Bf16,
            Way::ChunkTokens(chunk) => options.chunk_tokens = Some(chunk),
            Way::Quantization(quantization) => options.quantization = Some(quantization),
            Way::FourBitFile => {
                options.quantization = None;
                // Of shapes only: no number is made.
                let config = self.weights.config().clone();
                other_weights = Some(ModelWeights::random(config, RandomWeights::Q4_0));
            }
        }
        let sizes = Sizes::of(other_weights.as_ref().unwrap_or(&self.weights), &options, self.place)?;
        let room = self.room();
        let prediction = sizes.predict(tokens, mode, &room);
        Ok(WayOut { way, prediction, longest_context: sizes.longest(tokens, mode, &room) })
    }
}
