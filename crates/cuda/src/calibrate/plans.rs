//! Random plans of prompts that come whole.

use crate::random::RandomPlan;
use attention::Error;
use attention::plan::Plan;
use attention::shape::Tiles;

/// A prompt and a plan for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    /// Queries and keys.
    pub len: usize,
    /// Share of blocks.
    pub density: f64,
    /// Columns of each head, anywhere.
    pub columns: usize,
    pub centres: bool,
}

impl Pattern {
    pub(crate) fn plan(&self, tiles: Tiles, heads: usize) -> Result<Plan, Error> {
        let Self { density, columns, centres, .. } = *self;
        RandomPlan { density, columns, centres }.plan(tiles, heads)
    }
}

/// In words.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} tokens, {:.0}% of blocks", self.len, 100.0 * self.density)?;
        if self.columns > 0 {
            write!(f, ", {} columns", self.columns)?;
        }
        if self.centres { f.write_str(", centres") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_what_they_are() {
        let pattern = Pattern { len: 8192, density: 0.3, columns: 100, centres: true };
        assert_eq!(pattern.to_string(), "8192 tokens, 30% of blocks, 100 columns, centres");
    }
}
