//! JSON as Python writes it: infinities and NaN stand there as bare words, which JSON does not have.

use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Reads JSON in which `Infinity`, `-Infinity` and `NaN` may stand for values that nobody reads. Where one is read as a
/// number, the error quotes it.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(&quoted(json))
}

/// The same with those words in quotes.
fn quoted(json: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    if !json.windows(3).any(|part| part == b"Inf" || part == b"NaN") {
        return json.into();
    }
    let mut out = Vec::with_capacity(json.len() + 16);
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = json.get(at) {
        let word = WORDS.into_iter().find(|word| !in_string && json[at..].starts_with(word));
        let len = match (word, byte) {
            (Some(word), _) => {
                out.extend([b"\"", word, b"\""].concat());
                at += word.len();
                continue;
            }
            // An escaped quote ends nothing.
            (None, b'\\') if in_string => 2.min(json.len() - at),
            _ => 1,
        };
        in_string ^= byte == b'"';
        out.extend(&json[at..at + len]);
        at += len;
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn words_of_python_are_values_and_text_stays_as_it_is() {
        for (text, value) in [
            (r#"{"a": Infinity}"#, json!({"a": "Infinity"})),
            (r#"[-Infinity,NaN, 1]"#, json!(["-Infinity", "NaN", 1])),
            (r#"{"NaN": "to Infinity \" NaN \\", "b": [NaN]}"#, json!({"NaN": "to Infinity \" NaN \\", "b": ["NaN"]})),
            (r#"{"a": 1}"#, json!({"a": 1})),
        ] {
            assert_eq!(from_slice::<Value>(text.as_bytes()).unwrap(), value, "{text}");
        }
        for broken in ["{\"a\": Infinit}", "NaNs", "\"Inf\\", "{\"a\": \"NaN", ""] {
            assert!(from_slice::<Value>(broken.as_bytes()).is_err(), "{broken}");
        }
        assert!(from_slice::<f64>(b"Infinity").unwrap_err().to_string().contains("Infinity"));
    }
}
