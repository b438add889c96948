//! Text and addresses inside HTML and SVG.

/// `text` as content or attribute value of HTML and XML. Characters that XML cannot hold become U+FFFD.
///
/// ```
/// assert_eq!(eval::report::escape("<a href='x'>&\u{0}"), "&lt;a href=&#39;x&#39;&gt;&amp;\u{fffd}");
/// ```
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Address of a file beside the page.
///
/// ```
/// assert_eq!(eval::report::href("50% of it.json"), "./50%25%20of%20it.json");
/// ```
pub fn href(file: &str) -> String {
    let mut address = String::from("./");
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => address.push(char::from(byte)),
            // What else a name may hold has a meaning of its own in addresses or in HTML.
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}
