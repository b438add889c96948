//! RULER's thirteen tasks (Hsieh et al., arXiv 2404.06654), by the definitions and settings of its repository
//! (`NVIDIA/RULER`, `scripts/synthetic.yaml` and `scripts/data/synthetic`): the sentences of prompts, the numbers of needles,
//! keys, hops and words, the tokens an answer may take, and what counts as found are RULER's; the code is not.
//!
//! What differs, since prompts are drawn here and not by Python: the numbers drawn; that a prompt takes as much text as fits it
//! and not as fits the first of its task; sentences of essays end by Unicode's rule, not by a trained one.

mod common_words;
mod documents;
mod frequent_words;
mod needles;
mod score;
mod sources;
mod task;
mod variables;

pub use score::Credit;
pub use sources::Sources;
pub use task::Task;

/// RULER, asked.
pub type Ruler = super::exercises::Series<Task>;
/// Everything that RULER found.
pub type Outcome = super::exercises::Outcome<Task>;
/// One answer to RULER.
pub type Sample = super::exercises::Sample<Task>;

#[cfg(test)]
mod tests;
