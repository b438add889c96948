//! What an answer took, in a line.

use crate::table;
use runtime::memory::Bytes;
use runtime::request::{FinishReason, RunStats};

/// Tokens, times, which attention `ran`, what was computed and kept, memory, and why the answer ends.
pub fn summary(stats: &RunStats, ran: &str, finish_reason: FinishReason, device: &str) -> String {
    let why = match finish_reason {
        FinishReason::End => "ended by the model",
        FinishReason::Stop => "ended by a stop text",
        FinishReason::Length => "ended by their number",
        FinishReason::Cancelled => "interrupted",
    };
    let cached = match stats.cached_tokens {
        0 => String::new(),
        tokens => format!(" ({tokens} of them read before)"),
    };
    let dropped =
        stats.dropped_at_most.map_or(String::new(), |share| format!(" (at most {share:.3} dropped, by proof)"));
    let kept = stats.receipt.as_ref().map_or(String::new(), |receipt| format!(", {}", table::kept(&receipt.all)));
    format!(
        "{} prompt tokens{cached}, first token after {}, {ran}, density {:.2}, recall {:.2}{dropped}{kept}; {} new tokens at {:.1}/s, {why}; {}; {device}",
        stats.prompt_tokens,
        table::time(stats.ttft_ms),
        stats.density,
        stats.recall,
        stats.generated_tokens,
        stats.decode_tokens_per_s,
        Bytes(stats.peak_memory_bytes),
    )
}
