//! What an answer took, in a line.

use crate::table;
use runtime::memory::Bytes;
use runtime::request::{FinishReason, Goal, RunStats};

/// Tokens, times, which attention `ran` and for which goal, if for one, what was computed and kept, memory, and why the answer
/// ends.
pub fn summary(stats: &RunStats, ran: &str, goal: Option<Goal>, finish_reason: FinishReason, device: &str) -> String {
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
    let asked = goal.map_or(String::new(), |goal| format!(" for {goal}"));
    let recall = stats.recall.map_or(String::new(), |recall| format!(", recall {recall:.3}"));
    let cost = match goal {
        Some(Goal::Cost(_) | Goal::AttentionMs(_)) => stats.predicted_cost,
        _ => None,
    };
    let cost = cost.map_or(String::new(), |cost| format!(", cost {cost:.3} by prediction"));
    let kept = stats.receipt.as_ref().map_or(String::new(), |receipt| format!(", {}", table::kept(&receipt.all)));
    format!(
        "{} prompt tokens{cached}, first token after {}, {ran}{asked}, density {:.3}{cost}{recall}{dropped}{kept}; {} new tokens at {:.1}/s, {why}; {} by prediction; {device}",
        stats.prompt_tokens,
        table::time(stats.ttft_ms),
        stats.density,
        stats.generated_tokens,
        stats.decode_tokens_per_s,
        Bytes(stats.predicted_memory_bytes),
    )
}
