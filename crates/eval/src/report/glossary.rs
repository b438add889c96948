//! Words of the pages, and what the pages rest on.

/// A word that a page uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Layers and heads.
    Head,
    /// Time to first token.
    Ttft,
    /// The attention modes.
    Mode,
    /// The online search.
    Search,
    /// The families of patterns.
    Pattern,
    /// Blocks of keys.
    Block,
    /// Single keys.
    Column,
    /// Means of blocks.
    Centre,
    /// Chunks of a prompt.
    Chunk,
    /// Share of pairs computed.
    Density,
    /// Share of attention kept.
    Recall,
    /// Error of the output.
    Error,
    /// Negative log-likelihood.
    Nll,
    /// Exponent of growth.
    Exponent,
    /// Intervals in brackets.
    Interval,
    /// The exact test of pairs.
    Mcnemar,
}

impl Word {
    /// The word as pages write it.
    pub fn term(self) -> &'static str {
        match self {
            Word::Head => "layer, head",
            Word::Ttft => "time to first token (TTFT)",
            Word::Mode => "dense, sparse, auto",
            Word::Search => "search",
            Word::Pattern => "pattern",
            Word::Block => "block",
            Word::Column => "column",
            Word::Centre => "centre",
            Word::Chunk => "chunk",
            Word::Density => "density",
            Word::Recall => "recall",
            Word::Error => "output error",
            Word::Nll => "negative log-likelihood (NLL)",
            Word::Exponent => "exponent",
            Word::Interval => "95%, in brackets",
            Word::Mcnemar => "lost, won, p",
        }
    }

    /// What it means, in a sentence or two.
    pub fn meaning(self) -> &'static str {
        match self {
            Word::Head => {
                "A model is a stack of layers. In each of them several heads decide, every one for itself, how much each \
                 token (the query) attends to each token before it (the key)."
            }
            Word::Ttft => "From the request to the first token of the answer: reading the prompt, for the most part.",
            Word::Mode => {
                "How attention runs while a prompt is read. Dense computes every pair of a query and a key before it, \
                 sparse those that a search finds worth it, auto chooses."
            }
            Word::Search => {
                "What finds the pattern of each head for this prompt: exact attention of a few sampled queries prices and \
                 judges the candidates."
            }
            Word::Pattern => {
                "Which pairs a head computes. Dense: all. Triangular: the first keys and the nearest. Interval-slash: a few \
                 distances between query and key. Block-cluster: the blocks whose mean key fits the query."
            }
            Word::Block => "64 neighbouring keys, which are computed together or not at all.",
            Word::Column => "A single key that all queries of a head compute, outside its blocks.",
            Word::Centre => "The mean of a block that is left out, which stands for it in the output.",
            Word::Chunk => "Part of a long prompt that goes through the model at once.",
            Word::Density => "Pairs that were computed, over the pairs that dense attention computes. Dense is 1.",
            Word::Recall => {
                "The part of dense attention's weight that lies on the computed pairs, as a mean over queries. 1 is \
                 everything."
            }
            Word::Error => {
                "How far the output of attention is from dense attention's, over the size of dense's. 0 is the same."
            }
            Word::Nll => "How surprised the model is by a text, in nats a token. Less is better.",
            Word::Exponent => "How time grows with length: 1 is twice the time for twice the prompt, 2 is four times.",
            Word::Interval => {
                "Where the value lies with a confidence of 95%: such intervals hold the true value 95 times out of 100."
            }
            Word::Mcnemar => {
                "Prompts that dense answered and this mode did not, and the other way round. p, by McNemar's exact test, is \
                 how often chance alone makes a difference as large: below 0.05 it is unlikely to be chance."
            }
        }
    }
}

/// Papers whose ideas the measurements are about: what each is, and its address.
pub const PAPERS: [(&str, &str); 3] = [
    ("SparseAccelerate, whose experiments and questions these are", "https://arxiv.org/abs/2412.06198"),
    ("MInference, whose patterns ours build on", "https://arxiv.org/abs/2407.02490"),
    ("FlexPrefill, which chooses patterns for each prompt", "https://arxiv.org/abs/2502.20766"),
];

/// Where the definitions are.
pub const DOCUMENTS: &str = "Definitions of the patterns and of every measurement are in docs/paper.md, docs/selectors.md and \
                             docs/reproduce.md, in the sources of the program.";
