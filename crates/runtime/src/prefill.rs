//! A prompt, chunk by chunk.

use crate::model::Run;
use crate::ops::{AttentionReport, OpsError};
use crate::policy::PrefillAttention;
use attention::BLOCK_N;
use std::ops::ControlFlow;

/// The final rows of a prompt always see every key: they hold the question, and they are few.
pub const LAST_ROWS: usize = 64;

/// What looks at a run after each chunk, and says whether to go on.
pub type OnChunk<'a> = dyn FnMut(&mut dyn Run) -> Result<ControlFlow<()>, OpsError> + 'a;

/// Takes the whole prompt `ids` through the model; returns what attention did.
///
/// Chunks end at multiples of `chunk_tokens` (rounded up to whole blocks) of the absolute position, so that a prompt
/// behind a cached prefix is planned on the same tiles as one without. `on_chunk` may ask for logits of each chunk, and says whether
/// to go on.
///
/// # Errors
/// When the cache has no room reserved for the prompt, and what the device says.
pub fn prefill(
    run: &mut dyn Run,
    ids: &[u32],
    chunk_tokens: usize,
    attention: PrefillAttention,
    on_chunk: &mut OnChunk,
) -> Result<AttentionReport, OpsError> {
    let mut report = AttentionReport::default();
    let mut done = 0;
    while done < ids.len() {
        let (chunk, last_rows) = next_chunk(run.tokens_done(), &ids[done..], chunk_tokens);
        done += chunk.len();
        attention.tell_progress(0);
        report += run.forward(chunk, attention, last_rows)?;
        if on_chunk(run)?.is_break() {
            break;
        }
    }
    Ok(report)
}

/// The chunk that `left` begins with, and how many of the prompt's last rows are in it.
pub(crate) fn next_chunk(tokens_done: usize, left: &[u32], chunk_tokens: usize) -> (&[u32], usize) {
    let (len, last_rows) = chunk_len(tokens_done, left.len(), chunk_tokens);
    (&left[..len], last_rows)
}

/// Tokens of the next chunk of a prompt of which so many are `left`, and how many of its last rows are in it.
pub(crate) fn chunk_len(tokens_done: usize, left: usize, chunk_tokens: usize) -> (usize, usize) {
    let chunk_tokens = chunk_tokens.next_multiple_of(BLOCK_N);
    let len = (chunk_tokens - tokens_done % chunk_tokens).min(left);
    (len, LAST_ROWS.saturating_sub(left - len))
}
