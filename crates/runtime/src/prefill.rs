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

/// Takes the whole prompt `ids` through the model; returns what attention did, and whether all of it went through.
///
/// Chunks end at multiples of `chunk_tokens` (rounded up to whole blocks) of the absolute position, so that a prompt
/// behind a cached prefix is planned on the same tiles as one without. `on_chunk` may ask for logits of each chunk, and says whether
/// to go on; so does who hears of progress, within a chunk, which the run then does not hold.
///
/// # Errors
/// When the cache has no room reserved for the prompt, and what the device says.
pub fn prefill(
    run: &mut dyn Run,
    ids: &[u32],
    chunk_tokens: usize,
    attention: PrefillAttention,
    on_chunk: &mut OnChunk,
) -> Result<(AttentionReport, ControlFlow<()>), OpsError> {
    let mut report = AttentionReport::default();
    let mut done = 0;
    while done < ids.len() {
        let (of_chunk, tokens) = prefill_chunk(run, &ids[done..], chunk_tokens, attention)?;
        report += of_chunk;
        done += tokens;
        if tokens == 0 || on_chunk(run)?.is_break() {
            return Ok((report, ControlFlow::Break(())));
        }
    }
    Ok((report, ControlFlow::Continue(())))
}

/// Takes the next chunk of a prompt of which `left` is left through the model, as [`prefill`] does: what attention did, and how many
/// tokens went through, none where who hears of progress wanted no more.
///
/// # Errors
/// As there.
pub fn prefill_chunk(
    run: &mut dyn Run,
    left: &[u32],
    chunk_tokens: usize,
    attention: PrefillAttention,
) -> Result<(AttentionReport, usize), OpsError> {
    let before = run.tokens_done();
    let (chunk, last_rows) = next_chunk(before, left, chunk_tokens);
    if attention.tell_progress(0).is_break() {
        return Ok((AttentionReport::default(), 0));
    }
    let report = run.forward(chunk, attention, last_rows)?;
    Ok((report, run.tokens_done() - before))
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
