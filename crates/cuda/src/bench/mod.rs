//! How long the kernels of attention take on random operands, and how fast they are.
//!
//! Prompts attend densely and by random plans, are searched, and what was found is attended; one more token is decoded. Every row
//! of a length has the same queries, keys and values.

mod choice;
mod decode;
mod prompt;
mod row;
mod times;
mod work;

use crate::Error;
use crate::device::Device;
use attention::shape::{HeadShape, QueryRange};

pub use choice::{Kernel, What};
pub use row::Row;
pub use times::Times;

/// What to time.
#[derive(Clone, Debug)]
pub struct KernelBench {
    /// Heads of the layer.
    pub heads: HeadShape,
    /// Keys that are cached before the first query: a chunk of a longer prompt.
    pub prefix: usize,
    /// Plans list each block that a tile sees whole with this probability; blocks that the diagonal cuts are always listed.
    pub densities: Vec<f64>,
    /// Where above zero or with `centres`, each density has a second row with so many columns a head.
    pub columns: usize,
    /// Whether those second rows represent left-out blocks by their centres.
    pub centres: bool,
    /// Sequences that are decoded at a time.
    pub sequences: usize,
    /// Kernel of attention, dense and by plans.
    pub kernel: Kernel,
    /// Kinds of rows.
    pub what: Vec<What>,
    /// Times of each row, at least one.
    pub runs: usize,
}

impl KernelBench {
    /// The rows of one prompt length, in tokens.
    ///
    /// # Errors
    /// When the device has no such kernel for these heads, or no room for so many tokens; or the driver refuses.
    pub fn run(&self, device: &Device, tokens: usize) -> Result<Vec<Row>, Error> {
        let range = QueryRange::new(tokens, tokens.saturating_add(self.prefix))?;
        let mut rows = Vec::new();
        if self.what.iter().any(|what| *what != What::Decode) {
            rows.extend(prompt::rows(self, device, range)?);
        }
        if self.what.contains(&What::Decode) {
            rows.push(decode::row(self, device, range.kv_len())?);
        }
        Ok(rows)
    }
}
