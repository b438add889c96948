//! A prompt, chunk by chunk.

use crate::decoder::{Decoder, Hidden};
use crate::kv_cache::{KvCache, Sequence};
use crate::ops::{AttentionReport, Ops};
use attention::BLOCK_N;
use attention::planner::Planner;

/// The final rows of a prompt always see every key: they hold the question, and they are few.
pub const LAST_ROWS: usize = 64;

/// Takes the whole prompt `ids` through the model; returns the last chunk's residual stream and what attention did.
///
/// Chunks end at multiples of `chunk_tokens` (rounded up to whole blocks) of the absolute position, so that a prompt
/// behind a cached prefix is planned on the same tiles as one without. `on_chunk` gets the residual stream of each chunk and
/// the prompt tokens done.
///
/// # Errors
/// When the cache has no room reserved for the prompt.
pub fn prefill<O: Ops>(
    decoder: &Decoder<O>,
    ids: &[u32],
    chunk_tokens: usize,
    planner: Option<&dyn Planner>,
    cache: &mut KvCache,
    sequence: &mut Sequence,
    on_chunk: &mut dyn FnMut(&Hidden<O>, usize),
) -> Result<(Hidden<O>, AttentionReport), attention::Error> {
    let chunk_tokens = chunk_tokens.next_multiple_of(BLOCK_N);
    let mut report = AttentionReport::default();
    let mut done = 0;
    loop {
        let to_boundary = chunk_tokens - sequence.len() % chunk_tokens;
        let chunk = &ids[done..(done + to_boundary).min(ids.len())];
        done += chunk.len();
        let last_rows = LAST_ROWS.saturating_sub(ids.len() - done);
        let (hidden, chunk_report) = decoder.forward(chunk, cache, sequence, planner, last_rows)?;
        report += chunk_report;
        on_chunk(&hidden, done);
        if done == ids.len() {
            return Ok((hidden, report));
        }
    }
}
