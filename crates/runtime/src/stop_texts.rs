//! Ends an answer where a text of the caller's begins.

/// Looks for stop texts in an answer that comes in pieces, and holds back what may be the beginning of one.
pub(crate) struct StopTexts {
    stops: Vec<String>,
    held: String,
}

impl StopTexts {
    /// Empty texts stop nothing.
    pub(crate) fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
    }

    /// Adds a piece. The text that is certain now, and whether a stop text follows it: then the answer ends there.
    pub(crate) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let held_back = stops().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - held_back);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when the answer ends without a stop text.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// How many bytes at the end of `text` are the beginning of `stop`, at most.
pub(crate) fn begun(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(len, _)| len).rev();
    lengths.into_iter().find(|len| text.ends_with(&stop[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out, and whether it stopped.
    fn through(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut filter = StopTexts::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            out += &text;
            if stopped {
                return (out, true);
            }
        }
        (out + &filter.finish(), false)
    }

    #[test]
    fn an_answer_ends_where_the_first_stop_text_begins() {
        for (stops, pieces, text, stopped) in [
            (&["\n\n"][..], &["one\n", "\ntwo"][..], "one", true),
            (&["END", "E"], &["xE", "ND"], "x", true),
            (&["abab"], &["aab", "a", "c"], "aabac", false),
            (&["abab"], &["aab", "a", "b"], "a", true),
            (&["ü."], &["für", " ü", "."], "für ", true),
            (&["ü."], &["ü"], "ü", false),
            (&["User:", "\n"], &["Us", "er", "\n:"], "User", true),
            (&[""], &["a"], "a", false),
            (&[], &["a", "b"], "ab", false),
            (&["a"], &["a"], "", true),
        ] {
            assert_eq!(through(stops, pieces), (text.to_string(), stopped), "{stops:?} {pieces:?}");
        }
    }

    #[test]
    fn what_begins_no_stop_text_comes_at_once() {
        let stops = ["stop".to_string()];
        let mut filter = StopTexts::new(&stops);
        assert_eq!(filter.push("a st"), ("a ".into(), false));
        assert_eq!(filter.push("ay"), ("stay".into(), false));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in prop::collection::vec("[abé]{0,3}", 0..8), stops in prop::collection::vec("[abé]{1,3}", 0..3)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            let wanted = match stops.iter().filter_map(|stop| whole.find(stop)).min() {
                Some(at) => (whole[..at].to_string(), true),
                None => (whole.clone(), false),
            };
            prop_assert_eq!(through(&stops, &[&whole]), wanted.clone());
            // In pieces a text that ends earlier may be found first: the answer is never longer, and stops as well.
            let (text, stopped) = through(&stops, &pieces);
            prop_assert!(stopped == wanted.1 && whole.starts_with(&text) && (stopped || text == whole));
        }
    }
}
