//! Stand-in until the tokenizer branch lands.
/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most likely token.
    Greedy,
    /// Drawn at random.
    Random {
        /// Temperature, above 0.
        temperature: f32,
        /// Keep the k most likely; 0 keeps all.
        top_k: usize,
        /// Keep this much probability; 1 keeps all.
        top_p: f32,
        /// Seed.
        seed: u64,
    },
}
