//! Needles: the values of keys in a long text. Eight of RULER's tasks, which differ by their settings alone.

use super::sources::{Sources, WordLists};
use crate::EvalError;
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;
use unicode_segmentation::UnicodeSegmentation;

/// What stands between needles when nothing is to be read there; in variable tracking too.
pub(super) const NOISE: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
/// Needles in essays stand at some of so many evenly spaced depths.
const DEPTHS: usize = 40;

/// The text around needles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haystack {
    /// The same five sentences again and again.
    Noise,
    /// Essays, cut anywhere.
    Essays,
    /// Needles with other keys.
    Needles,
}

/// What a key or a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An adjective and a noun.
    Words,
    /// Seven digits.
    Numbers,
    /// A random UUID (version 4).
    Uuids,
}

/// One of the tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub haystack: Haystack,
    pub key: Kind,
    pub value: Kind,
    /// Keys in the text.
    pub keys: usize,
    /// Values of each key.
    pub values: usize,
    /// Keys that are asked for.
    pub queries: usize,
}

/// A sample of a task.
pub(super) struct Needles<'s> {
    settings: Settings,
    words: Option<&'s WordLists>,
    essays: &'s [String],
    random: Random,
}

impl<'s> Needles<'s> {
    /// # Errors
    /// When a text it needs is missing.
    pub(super) fn new(settings: Settings, sources: &'s Sources, random: Random) -> Result<Self, EvalError> {
        let words = if settings.key == Kind::Words { Some(sources.words()?) } else { None };
        let essays = if settings.haystack == Haystack::Essays { sources.essays()? } else { &[] };
        Ok(Self { settings, words, essays, random })
    }

    fn draw(&self, kind: Kind, random: &mut Random) -> String {
        match (kind, self.words) {
            (Kind::Words, Some(words)) => words.pair(random),
            (Kind::Uuids, _) => uuid(random),
            _ => (1_000_000 + random.below(9_000_000)).to_string(),
        }
    }

    fn needle(&self, key: &str, value: &str) -> String {
        format!("One of the special magic {} for {key} is: {value}.", self.settings.value.plural())
    }
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Kind::Words => "words",
            Kind::Numbers => "numbers",
            Kind::Uuids => "uuids",
        }
    }
}

impl Writer for Needles<'_> {
    /// Noises, words of essays, or needles.
    fn counts(&self) -> RangeInclusive<usize> {
        self.settings.keys * self.settings.values..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let Settings { haystack, key, value, keys, values, queries } = self.settings;
        let mut random = self.random.clone();
        let mut others = random.fork();
        let of_keys: Vec<(String, Vec<String>)> = (0..keys)
            .map(|_| {
                let key = self.draw(key, &mut random);
                (key, (0..values).map(|_| self.draw(value, &mut random)).collect())
            })
            .collect();
        let mut needles: Vec<String> =
            of_keys.iter().flat_map(|(key, values)| values.iter().map(|value| self.needle(key, value))).collect();
        random.shuffle(&mut needles);
        let asked = random.sample(keys, queries);

        let context = match haystack {
            Haystack::Noise => between_lines(vec![NOISE.into(); count], needles, &mut random),
            Haystack::Needles => {
                let mut other = || self.needle(&self.draw(key, &mut others), &self.draw(value, &mut others));
                between_lines((0..count).map(|_| other()).collect(), needles, &mut random)
            }
            Haystack::Essays => {
                let words: Vec<&str> = self.essays.iter().cycle().take(count).map(String::as_str).collect();
                between_sentences(&words.join(" "), needles, &mut random)
            }
        };
        let is_one = queries * values == 1;
        let asked: Vec<&(String, Vec<String>)> = asked.into_iter().map(|key| &of_keys[key]).collect();
        let query = listed(asked.iter().map(|(key, _)| key.as_str()).collect());
        let (some, are_all, are) = if is_one { ("A", "is", "is") } else { ("Some", "are all", "are") };
        let plural = value.plural();
        let kind = if is_one { &plural[..plural.len() - 1] } else { plural };
        Exercise {
            shown: None,
            question: format!(
                "{some} special magic {kind} {are} hidden within the following text. Make sure to memorize it. I will quiz \
                 you about the {kind} afterwards.\n{context}\nWhat {are_all} the special magic {kind} for {query} mentioned \
                 in the provided text?"
            ),
            opening: format!(" The special magic {kind} for {query} mentioned in the provided text {are}"),
            answers: asked.iter().flat_map(|(_, values)| values.clone()).collect(),
        }
    }
}

/// `a`, `a, and b`, `a, b, and c`.
fn listed(names: Vec<&str>) -> String {
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{}, and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// Each needle on a line of its own, before some of the lines.
fn between_lines(lines: Vec<String>, needles: Vec<String>, random: &mut Random) -> String {
    let mut places = random.sample(lines.len(), needles.len());
    places.sort_unstable();
    let mut needles = places.into_iter().zip(needles).peekable();
    let mut all = Vec::new();
    for (n, line) in lines.into_iter().enumerate() {
        all.extend(needles.next_if(|(place, _)| *place == n).map(|(_, needle)| needle));
        all.push(line);
    }
    all.join("\n")
}

/// Each needle between two sentences, at different depths.
fn between_sentences(text: &str, needles: Vec<String>, random: &mut Random) -> String {
    let sentences: Vec<&str> = text.unicode_sentences().map(str::trim).collect();
    let mut depths: Vec<f64> = (random.sample(DEPTHS, needles.len()).into_iter())
        .map(|step| (100.0 * step as f64 / (DEPTHS - 1) as f64).round() / 100.0)
        .collect();
    depths.sort_by(f64::total_cmp);
    let mut all: Vec<&str> = Vec::new();
    let mut written = 0;
    for (depth, needle) in depths.into_iter().zip(&needles) {
        let before = (sentences.len() as f64 * depth) as usize;
        all.extend(&sentences[written..before]);
        all.push(needle);
        written = before;
    }
    all.extend(&sentences[written..]);
    all.join(" ")
}

fn uuid(random: &mut Random) -> String {
    let bits = (u128::from(random.next()) << 64) | u128::from(random.next());
    // Version and variant (RFC 9562).
    let bits = (bits & !(0xf << 76) | (4 << 76)) & !(3 << 62) | (2 << 62);
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
