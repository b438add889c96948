//! What can be quoted of texts: their paragraphs, and the functions of those in Python.

use super::Task;
use crate::EvalError;
use std::collections::HashMap;

/// Letters of a passage that is asked for; its tokens shall fit the answer.
const ASKED_LETTERS: std::ops::RangeInclusive<usize> = 200..=600;
/// A longer paragraph or function stands in no prompt: lengths could not be met.
const MOST_LETTERS: usize = 1500;
/// Letters by which a paragraph is asked for.
const BEGINNING_LETTERS: usize = 40;

/// Texts of the user.
#[derive(Debug, Default)]
pub struct Texts {
    passages: Quotable,
    functions: Quotable,
}

/// Pieces of texts, in their order, and those of them that can be asked for.
#[derive(Debug, Default)]
pub(super) struct Quotable {
    /// Each with the length of its beginning, by which it is asked for, in bytes.
    pub pieces: Vec<(String, usize)>,
    /// Of pieces whose beginning no other piece has.
    pub asked: Vec<usize>,
}

impl Texts {
    /// Of these texts, each with whether it is in Python.
    pub fn of<'t>(texts: impl IntoIterator<Item = (&'t str, bool)>) -> Self {
        let (mut passages, mut functions) = (Vec::new(), Vec::new());
        for (text, is_python) in texts {
            let text = text.replace("\r\n", "\n");
            passages.extend(paragraphs(&text));
            if is_python {
                functions.extend(top_level_functions(&text));
            }
        }
        Self { passages: Quotable::of(passages), functions: Quotable::of(functions) }
    }

    /// What a task would quote, where there is none of it.
    pub fn missing(&self, task: Task) -> Option<&'static str> {
        let (quotable, what) = match task {
            Task::QuotePassage => (&self.passages, "paragraph of 200 to 600 letters"),
            Task::QuoteFunction => (&self.functions, "Python function of 200 to 600 letters"),
            _ => return None,
        };
        quotable.asked.is_empty().then_some(what)
    }

    /// What a task quotes.
    pub(super) fn quotable(&self, task: Task) -> Result<&Quotable, EvalError> {
        match self.missing(task) {
            Some(what) => Err(EvalError::NothingToQuote { what }),
            None if task == Task::QuoteFunction => Ok(&self.functions),
            None => Ok(&self.passages),
        }
    }
}

impl Quotable {
    fn of(mut pieces: Vec<(String, usize)>) -> Self {
        pieces.retain(|(piece, _)| piece.chars().count() <= MOST_LETTERS);
        let mut times: HashMap<&str, usize> = HashMap::new();
        for (piece, beginning) in &pieces {
            *times.entry(&piece[..*beginning]).or_default() += 1;
        }
        let is_asked = |(piece, beginning): &(String, usize)| {
            ASKED_LETTERS.contains(&piece.chars().count()) && times[&piece[..*beginning]] == 1
        };
        let asked = (0..pieces.len()).filter(|&n| is_asked(&pieces[n])).collect();
        Self { pieces, asked }
    }
}

/// What stands between empty lines.
fn paragraphs(text: &str) -> Vec<(String, usize)> {
    let mut paragraphs: Vec<String> = vec![String::new()];
    for line in text.lines().map(str::trim_end) {
        match (paragraphs.last_mut(), line.is_empty()) {
            (Some(paragraph), false) if paragraph.is_empty() => paragraph.push_str(line),
            (Some(paragraph), false) => {
                paragraph.push('\n');
                paragraph.push_str(line);
            }
            (_, true) => paragraphs.push(String::new()),
            (None, false) => {}
        }
    }
    let beginning = |text: &str| text.char_indices().nth(BEGINNING_LETTERS).map_or(text.len(), |(at, _)| at);
    let written = paragraphs.into_iter().filter(|paragraph| !paragraph.is_empty());
    written.map(|paragraph| (beginning(&paragraph), paragraph)).map(|(at, paragraph)| (paragraph, at)).collect()
}

/// `def name(...)` at the left edge, up to the next line there.
fn top_level_functions(text: &str) -> Vec<(String, usize)> {
    let mut functions: Vec<Vec<&str>> = Vec::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("def ") {
            functions.push(vec![line]);
            is_inside = true;
        } else if is_inside {
            // A signature of several lines ends at the left edge, too.
            is_inside = line.is_empty() || line.starts_with([' ', '\t', ')']);
            if let (true, Some(function)) = (is_inside, functions.last_mut()) {
                function.push(line);
            }
        }
    }
    let whole = functions.into_iter().map(|lines| lines.join("\n").trim_end().to_owned());
    whole.filter_map(|function| function.find('(').map(|at| (at + 1, function))).map(|(at, f)| (f, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_end_at_empty_lines_and_functions_at_the_left_edge() {
        let python =
            "import re\n\ndef first(a,\n          b\n):\n    x = 1\n\n    return x\n\nX = 1\ndef second():\n    pass";
        let functions = top_level_functions(python);
        assert_eq!(functions[0].0, "def first(a,\n          b\n):\n    x = 1\n\n    return x");
        assert_eq!(
            (functions[1].0.as_str(), &functions[1].0[..functions[1].1]),
            ("def second():\n    pass", "def second(")
        );
        assert_eq!(functions.len(), 2);
        let found: Vec<String> = paragraphs("\n one \n two\n\n\n three\n").into_iter().map(|(text, _)| text).collect();
        assert_eq!(found, [" one\n two", " three"]);
    }

    #[test]
    fn what_begins_alike_or_has_the_wrong_length_is_not_asked_for() {
        let long = |start: &str, letters: usize| start.to_string() + &"x y ".repeat(letters / 4);
        let text = ["A", "B", "B", "C"].map(|start| long(&start.repeat(50), 200)).join("\n\n") + "\n\nshort\n\n";
        let texts = Texts::of([(text.as_str(), false), (&long("D", 2000), false)]);
        assert_eq!(texts.passages.asked, [0, 3]);
        assert_eq!(texts.passages.pieces.len(), 5);
        assert!(texts.missing(Task::QuoteFunction).is_some() && texts.missing(Task::QuotePassage).is_none());
        assert!(Texts::default().missing(Task::Table).is_none());
    }
}
