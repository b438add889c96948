//! Which attention a prefill ran, and why where that was left open.

use runtime::request::{AttentionMode, RunStats};
use serde::Serialize;
use std::fmt;

/// As JSON has it.
#[derive(Debug, PartialEq, Serialize)]
pub struct Ran {
    /// `dense`, `sparse` or `patterns`.
    #[serde(rename = "attention_ran")]
    attention: &'static str,
    /// Why the search was left out or found nothing to leave out.
    #[serde(rename = "attention_reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Ran {
    /// Of a request for this mode.
    pub fn of(asked: AttentionMode, stats: &RunStats) -> Self {
        let is_dense = stats.density >= 1.0;
        match asked {
            AttentionMode::Dense => Self { attention: "dense", reason: None },
            _ if stats.search_left_out => {
                Self { attention: "dense", reason: Some("memory suffices for dense attention only") }
            }
            _ if is_dense => {
                Self { attention: "dense", reason: Some("no pattern and its search were cheaper for its goal") }
            }
            AttentionMode::Auto | AttentionMode::Sparse => Self { attention: "sparse", reason: None },
        }
    }

    /// Whether the goal of the request was aimed at.
    pub fn is_sparse(&self) -> bool {
        self.attention == "sparse"
    }

    /// By the patterns of a file.
    pub fn patterns() -> Self {
        Self { attention: "patterns", reason: None }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.attention, self.reason) {
            ("patterns", _) => f.write_str("attention by the file's patterns"),
            (attention, None) => write!(f, "{attention} attention"),
            (attention, Some(reason)) => write!(f, "{attention} attention ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_said_with_why_where_it_was_open() {
        let said = |asked, density, search_left_out| {
            Ran::of(asked, &RunStats { density, search_left_out, ..RunStats::default() }).to_string()
        };
        assert_eq!(said(AttentionMode::Dense, 1.0, false), "dense attention");
        assert_eq!(said(AttentionMode::Auto, 0.4, false), "sparse attention");
        assert_eq!(said(AttentionMode::Sparse, 0.4, false), "sparse attention");
        assert_eq!(
            said(AttentionMode::Auto, 1.0, false),
            "dense attention (no pattern and its search were cheaper for its goal)"
        );
        assert_eq!(
            said(AttentionMode::Sparse, 1.0, false),
            "dense attention (no pattern and its search were cheaper for its goal)"
        );
        assert_eq!(said(AttentionMode::Auto, 1.0, true), "dense attention (memory suffices for dense attention only)");
        let json = serde_json::to_string(&Ran::patterns()).unwrap();
        assert_eq!(json, r#"{"attention_ran":"patterns"}"#);
    }
}
