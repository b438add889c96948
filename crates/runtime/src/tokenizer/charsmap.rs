//! A check of SentencePiece's `precompiled_charsmap`: the library reserves as much memory as its first bytes say.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Parts {
    normalizer: Option<Value>,
}

/// What is wrong with the normalizer of a `tokenizer.json`, if anything is, or with its JSON: the library reserves before it
/// has read to the end.
pub(super) fn check(json: &[u8]) -> Result<(), String> {
    let parts: Parts = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    parts.normalizer.map_or(Ok(()), |normalizer| check_value(&normalizer))
}

fn check_value(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_value),
        Value::Object(fields) => {
            if let Some(Value::String(base64)) = fields.get("precompiled_charsmap") {
                let (says, holds) = (first_word(base64), base64.len() as u64 / 4 * 3);
                if says.is_none_or(|bytes| u64::from(bytes) > holds) {
                    return Err("its precompiled_charsmap is cut short".into());
                }
            }
            fields.values().try_for_each(check_value)
        }
        _ => Ok(()),
    }
}

/// The first four bytes of a base64 text, little end first.
fn first_word(base64: &str) -> Option<u32> {
    let digits = base64.as_bytes().get(..6)?;
    let bits = digits.iter().try_fold(0u64, |bits, digit| Some(bits << 6 | u64::from(six_bits(*digit)?)))?;
    // 36 bits: four bytes and the beginning of a fifth.
    Some(((bits >> 4) as u32).swap_bytes())
}

fn six_bits(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_normalizer_does_not_hide_it() {
        let normalizer = r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}"#;
        for rest in ["", r#", "normalizer": null}"#, ", }", "} {}"] {
            assert!(check(format!("{normalizer}{rest}").as_bytes()).is_err(), "{rest}");
        }
        assert!(check(&[normalizer.as_bytes(), b", \"a\": \"\xff\"}"].concat()).is_err());
    }

    #[test]
    fn a_trie_larger_than_its_text_is_refused() {
        // Eight bytes of trie, and those; four billion, and nothing; two bytes.
        assert_eq!(first_word("CAAAAAAAAAAAAAAA"), Some(8));
        assert_eq!(first_word("/////w=="), Some(u32::MAX));
        for (charsmap, sound) in [("CAAAAAAAAAAAAAAA", true), ("/////w==", false), ("AAA=", false)] {
            let step = format!(r#"{{"type": "Precompiled", "precompiled_charsmap": "{charsmap}"}}"#);
            for normalizer in [step.clone(), format!(r#"{{"type": "Sequence", "normalizers": [{step}]}}"#)] {
                let json = format!(r#"{{"normalizer": {normalizer}, "model": {{}}}}"#);
                assert_eq!(check(json.as_bytes()).is_ok(), sound, "{json}");
            }
        }
    }
}
