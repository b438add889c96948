//! Files of text to text, whatever program wrote them.

/// The text of a file. A byte order mark is no part of it; UTF-16 is read where such a mark says so.
///
/// # Errors
/// When it is neither: what it seems to be, and how to convert it.
pub fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    match bytes[..] {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(convert("is UTF-32", "UTF-32")),
        [0xff, 0xfe, ref rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, ref rest @ ..] => utf_16(rest, u16::from_be_bytes),
        _ => utf_8(bytes),
    }
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    text.ok_or("begins as UTF-16 and does not go on as such: it is damaged, write it again".into())
}

fn utf_8(bytes: Vec<u8>) -> Result<String, String> {
    // Text in UTF-16 without a mark: every other byte of Latin letters is 0, which no text in UTF-8 has.
    let zeros_at = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let most = bytes.len() / 4;
    if bytes.len() >= 4 && zeros_at(1) > most {
        return Err(convert("seems to be UTF-16", "UTF-16LE"));
    }
    if bytes.len() >= 4 && zeros_at(0) > most {
        return Err(convert("seems to be UTF-16", "UTF-16BE"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(String::from).unwrap_or(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // Control characters from 0x80 on are in no text of Latin-1; Windows has quotation marks there.
            let is_windows = error.as_bytes().iter().any(|byte| (0x80..0xa0).contains(byte));
            let (name, code) = if is_windows { ("Windows-1252", "WINDOWS-1252") } else { ("Latin-1", "LATIN1") };
            Err(convert(&format!("is not UTF-8 at byte {at}, perhaps {name}"), code))
        }
    }
}

fn convert(what: &str, code: &str) -> String {
    format!("{what}: convert it, for example with `iconv -f {code} -t UTF-8`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_no_text_and_lines_end_as_they_do() {
        let utf_16 = |text: &str, mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            [mark.to_vec(), text.encode_utf16().flat_map(bytes).collect()].concat()
        };
        let text = "für 👍\r\nzwei\n";
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            utf_16(text, [0xff, 0xfe], u16::to_le_bytes),
            utf_16(text, [0xfe, 0xff], u16::to_be_bytes),
        ] {
            assert_eq!(text_of(bytes).unwrap(), text);
        }
        assert_eq!(text_of(b"\xef\xbb\xbf".to_vec()).unwrap(), "");
        assert_eq!(text_of("a\u{feff}b".into()).unwrap(), "a\u{feff}b", "a mark inside is text");
        assert_eq!(text_of(b"a\0b".to_vec()).unwrap(), "a\0b");
    }

    #[test]
    fn other_encodings_are_named() {
        let without_mark = |bytes: fn(u16) -> [u8; 2]| "what is it?".encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        for (bytes, says) in [
            (b"caf\xe9 au lait".to_vec(), "not UTF-8 at byte 3, perhaps Latin-1"),
            (b"\x93quoted\x94".to_vec(), "-f WINDOWS-1252"),
            (without_mark(u16::to_le_bytes), "-f UTF-16LE"),
            (without_mark(u16::to_be_bytes), "-f UTF-16BE"),
            (b"\xff\xfe\0\0a\0\0\0".to_vec(), "UTF-32"),
            (b"\xff\xfea\0b".to_vec(), "damaged"),
            (b"\xff\xfe\x00\xd8".to_vec(), "damaged"),
        ] {
            let message = text_of(bytes).unwrap_err();
            assert!(message.contains(says), "{says}: {message}");
        }
    }
}
