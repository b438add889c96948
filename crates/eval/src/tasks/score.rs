//! Whether an answer is right.

use serde::{Deserialize, Serialize};

/// What makes an answer right. Case does not count, and all white space is one space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// It is one of the right answers.
    Exact,
    /// One of the right answers stands in it.
    #[default]
    Contains,
}

impl Match {
    /// Whether `answer` is right by any of `right`.
    pub fn holds(self, answer: &str, right: &[String]) -> bool {
        let answer = plain(answer);
        right.iter().map(|right| plain(right)).any(|right| match self {
            Match::Exact => answer == right,
            Match::Contains => answer.contains(&right),
        })
    }
}

/// Without what does not count.
pub(super) fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_right_answer_counts_and_case_and_space_do_not() {
        let right = ["Johann  Wolfgang\nGoethe".to_string(), "42".into()];
        for (answer, exact, contains) in [
            (" 42\n", true, true),
            ("It was johann wolfgang goethe.", false, true),
            ("JOHANN WOLFGANG GOETHE", true, true),
            ("4 2", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (Match::Exact.holds(answer, &right), Match::Contains.holds(answer, &right)),
                (exact, contains),
                "{answer}"
            );
        }
    }
}
