//! How much of an answer is right.

use serde_json::Value;

/// Parts of a similarity.
pub(super) const WHOLE: usize = 1000;

/// How alike the beginning of `answer` is to `right`, in thousandths: 1 less the least edits (of letters; Levenshtein's distance)
/// that make some beginning of it `right`, over the letters of `right`. What follows does not count, nor white space before.
pub(super) fn similarity(answer: &str, right: &str) -> usize {
    let (answer, right) = (answer.trim_start(), right.trim());
    // What is far behind the end is no better a beginning.
    let right: Vec<char> = right.chars().collect();
    let answer: Vec<char> = answer.chars().take(2 * right.len()).collect();
    let mut edits: Vec<usize> = (0..=answer.len()).collect();
    for (n, letter) in right.iter().enumerate() {
        let mut diagonal = edits[0];
        edits[0] = n + 1;
        for at in 1..=answer.len() {
            let replaced = diagonal + usize::from(answer[at - 1] != *letter);
            diagonal = edits[at];
            edits[at] = replaced.min(edits[at] + 1).min(edits[at - 1] + 1);
        }
    }
    let least = edits.into_iter().min().unwrap_or(0);
    // Only what is the same is the whole.
    WHOLE - (WHOLE * least).div_ceil(right.len().max(1)).min(WHOLE)
}

/// How many lines of `answer` are those of `right` before the first that is not; empty ones, and space around them, do not count.
pub(super) fn lines_before_a_difference(answer: &str, right: &[String]) -> usize {
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.zip(right).take_while(|(line, right)| *line == right.trim()).count()
}

/// Of a call `{"name": ..., "arguments": {...}}`, which `answer` begins with, how much is as in `right`: the name, and each
/// argument by name and value. What is no JSON has nothing right; a call with other arguments as well never has everything.
pub(super) fn call(answer: &str, right: &str) -> (usize, usize) {
    let arguments = |call: &Value| call["arguments"].as_object().cloned().unwrap_or_default();
    let right: Value = serde_json::from_str(right).unwrap_or_default();
    let right_arguments = arguments(&right);
    let of = 1 + right_arguments.len();
    let Some(Ok(call)) = serde_json::Deserializer::from_str(answer.trim_start()).into_iter::<Value>().next() else {
        return (0, of);
    };
    let given = arguments(&call);
    let same = right_arguments.iter().filter(|(name, value)| given.get(*name) == Some(value)).count();
    let found = usize::from(call["name"] == right["name"]) + same;
    (if given.len() > right_arguments.len() { found.min(of - 1) } else { found }, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_on_after_a_whole_quotation_costs_nothing(right in "[a-c]{0,30}x", more in "[a-c ]{0,30}", at in 0usize..30) {
            prop_assert_eq!(similarity(&format!(" {right}{more}"), &right), WHOLE);
            let letters = right.len();
            // One letter lost, one changed, one too many.
            let at = at % letters;
            for changed in [
                format!("{}{}", &right[..at], &right[at + 1..]),
                format!("{}y{}", &right[..at], &right[at + 1..]),
                format!("{}y{}", &right[..at], &right[at..]),
            ] {
                let by_one = WHOLE - WHOLE.div_ceil(letters);
                prop_assert_eq!(similarity(&changed, &right), by_one, "{} {}", changed, right);
            }
        }
    }

    #[test]
    fn nothing_alike_is_nothing() {
        assert_eq!(similarity("", "abc"), 0);
        assert_eq!(similarity("xyz", "abc"), 0);
        assert_eq!(similarity("abcdef", "abcdxx"), 666);
        assert_eq!(similarity("ä€", "ä€"), WHOLE);
    }

    #[test]
    fn lines_count_to_the_first_difference() {
        let right = ["1. a", "2. b", "3. c"].map(String::from);
        for (answer, lines) in [
            ("1. a\n2. b\n3. c\n4. d", 3),
            (" 1. a \n\n2. b\n3. d", 2),
            ("1. a\n3. c", 1),
            ("2. b\n1. a", 0),
            ("", 0),
            ("1. a 2. b", 0),
        ] {
            assert_eq!(lines_before_a_difference(answer, &right), lines, "{answer}");
        }
    }

    #[test]
    fn calls_are_compared_as_json() {
        let right = r#"{"name": "f", "arguments": {"a": 1, "b": "x", "c": true}}"#;
        for (answer, found) in [
            (right, 4),
            (r#" {"arguments":{"c":true,"b":"x","a":1},"name":"f"} and more"#, 4),
            (r#"{"name": "f", "arguments": {"a": "1", "b": "x", "c": true}}"#, 3),
            (r#"{"name": "g", "arguments": {"a": 1, "b": "x", "c": true}}"#, 3),
            (r#"{"name": "f", "arguments": {"a": 1, "b": "x", "c": true, "d": 0}}"#, 3),
            (r#"{"name": "f"}"#, 1),
            (r#"{"name": "f", "arguments": [1]}"#, 1),
            (r#"{"name": "f", "arguments": {"a": 1"#, 0),
            ("[]", 0),
            ("I call f.", 0),
            ("", 0),
        ] {
            assert_eq!(call(answer, right), (found, 4), "{answer}");
        }
    }
}
