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
    // An answer that is interrupted within its prompt has neither.
    let first =
        stats.ttft_ms.map_or("no token made".to_string(), |ms| format!("first token after {}", table::time(ms)));
    let new = match stats.generated_tokens {
        0 => "no new tokens".to_string(),
        // The time of the first is that of the prompt.
        1 => "1 new token".into(),
        tokens => format!("{tokens} new tokens at {:.1}/s", stats.decode_tokens_per_s),
    };
    format!(
        "{} prompt tokens{cached}, {first}, {ran}{asked}, density {:.3}{cost}{recall}{dropped}{kept}; {new}, {why}; {} by prediction; {device}",
        stats.prompt_tokens,
        stats.density,
        Bytes(stats.predicted_memory_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_told_only_where_there_are_some() {
        let said = |stats: RunStats, why| summary(&stats, "dense", None, why, "cpu");
        let within = RunStats { prompt_tokens: 9000, ..RunStats::default() };
        let within = said(within, FinishReason::Cancelled);
        assert!(within.starts_with("9000 prompt tokens, no token made, dense"), "{within}");
        assert!(
            within.contains("; no new tokens, interrupted; ") && !within.contains(" ms") && !within.contains("/s"),
            "{within}"
        );
        let ended = said(RunStats { ttft_ms: Some(8.25), ..RunStats::default() }, FinishReason::End);
        assert!(
            ended.contains("first token after 8.25 ms") && ended.contains("no new tokens, ended by the model"),
            "{ended}"
        );
        let one = RunStats { ttft_ms: Some(1.0), generated_tokens: 1, ..RunStats::default() };
        assert!(said(one, FinishReason::Length).contains("; 1 new token, ended by their number"));
        let two = RunStats { generated_tokens: 2, decode_tokens_per_s: 20.0, ..RunStats::default() };
        assert!(said(two, FinishReason::Length).contains("; 2 new tokens at 20.0/s, "));
    }
}
