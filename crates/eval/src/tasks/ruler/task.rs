//! The thirteen tasks and their settings.

use super::common_words::CommonWords;
use super::documents::Documents;
use super::frequent_words::FrequentWords;
use super::needles::{Haystack, Kind, Needles, Settings};
use super::score::Credit;
use super::sources::{ESSAYS, HOTPOT_QA, SQUAD, Sources, WORDS};
use super::variables::Variables;
use crate::random::Random;
use crate::tasks::exercises::{self, Asking, Exercise, Writer};
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A task, by the name that RULER gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Task {
    /// One number in noise.
    #[serde(rename = "niah_single_1")]
    Single1,
    /// One number in essays.
    #[serde(rename = "niah_single_2")]
    Single2,
    /// One UUID in essays.
    #[serde(rename = "niah_single_3")]
    Single3,
    /// Four numbers in essays, one asked for.
    #[serde(rename = "niah_multikey_1")]
    MultiKey1,
    /// One number among nothing but numbers of other keys.
    #[serde(rename = "niah_multikey_2")]
    MultiKey2,
    /// One UUID among nothing but UUIDs of other UUIDs.
    #[serde(rename = "niah_multikey_3")]
    MultiKey3,
    /// Four numbers of one key in essays.
    #[serde(rename = "niah_multivalue")]
    MultiValue,
    /// Four numbers in essays, all asked for.
    #[serde(rename = "niah_multiquery")]
    MultiQuery,
    /// Variables with the value of the first, over four hops.
    #[serde(rename = "vt")]
    Variables,
    /// The ten words of a list that appear most often.
    #[serde(rename = "cwe")]
    CommonWords,
    /// The three coded words that appear most often.
    #[serde(rename = "fwe")]
    FrequentWords,
    /// Questions about one document (SQuAD).
    #[serde(rename = "qa_1")]
    Squad,
    /// Questions about two documents (HotpotQA).
    #[serde(rename = "qa_2")]
    HotpotQa,
}

impl Task {
    /// All of them, in RULER's order.
    pub const ALL: [Task; 13] = [
        Task::Single1,
        Task::Single2,
        Task::Single3,
        Task::MultiKey1,
        Task::MultiKey2,
        Task::MultiKey3,
        Task::MultiValue,
        Task::MultiQuery,
        Task::Variables,
        Task::CommonWords,
        Task::FrequentWords,
        Task::Squad,
        Task::HotpotQa,
    ];

    /// RULER's name.
    pub const fn name(self) -> &'static str {
        match self {
            Task::Single1 => "niah_single_1",
            Task::Single2 => "niah_single_2",
            Task::Single3 => "niah_single_3",
            Task::MultiKey1 => "niah_multikey_1",
            Task::MultiKey2 => "niah_multikey_2",
            Task::MultiKey3 => "niah_multikey_3",
            Task::MultiValue => "niah_multivalue",
            Task::MultiQuery => "niah_multiquery",
            Task::Variables => "vt",
            Task::CommonWords => "cwe",
            Task::FrequentWords => "fwe",
            Task::Squad => "qa_1",
            Task::HotpotQa => "qa_2",
        }
    }

    /// What its answers get.
    pub fn credit(self) -> Credit {
        match self {
            Task::Squad | Task::HotpotQa => Credit::Any,
            _ => Credit::Share,
        }
    }

    /// Names of the files that its prompts are made of.
    pub fn source_files(self) -> Vec<&'static str> {
        match self {
            Task::Variables | Task::FrequentWords => Vec::new(),
            Task::CommonWords => WORDS.to_vec(),
            Task::Squad => vec![SQUAD],
            Task::HotpotQa => vec![HOTPOT_QA],
            _ => {
                let Settings { haystack, key, .. } = self.needles();
                let words = WORDS.into_iter().filter(|_| key == Kind::Words);
                words.chain((haystack == Haystack::Essays).then_some(ESSAYS)).collect()
            }
        }
    }

    /// Settings of the needle tasks; of the others nobody asks.
    pub(super) fn needles(self) -> Settings {
        let (haystack, key, value) = match self {
            Task::Single1 => (Haystack::Noise, Kind::Words, Kind::Numbers),
            Task::Single3 => (Haystack::Essays, Kind::Words, Kind::Uuids),
            Task::MultiKey2 => (Haystack::Needles, Kind::Words, Kind::Numbers),
            Task::MultiKey3 => (Haystack::Needles, Kind::Uuids, Kind::Uuids),
            _ => (Haystack::Essays, Kind::Words, Kind::Numbers),
        };
        let (keys, values, queries) = match self {
            Task::MultiKey1 => (4, 1, 1),
            Task::MultiValue => (1, 4, 1),
            Task::MultiQuery => (4, 1, 4),
            _ => (1, 1, 1),
        };
        Settings { haystack, key, value, keys, values, queries }
    }
}

impl exercises::Task for Task {
    type Sources = Sources;

    fn name(self) -> &'static str {
        Task::name(self)
    }

    fn answer_tokens(self) -> usize {
        match self {
            Task::Variables => 30,
            Task::CommonWords => 120,
            Task::FrequentWords => 50,
            Task::Squad | Task::HotpotQa => 32,
            _ => 128,
        }
    }

    fn exercise(
        self,
        words: &WordTokens<impl Completer>,
        asking: Asking,
        sources: &Sources,
        [length, sample]: [usize; 2],
        seed: u64,
    ) -> Result<Exercise, EvalError> {
        let limit = length.saturating_sub(self.answer_tokens());
        let random = Random::of(seed, &[self as u64, length as u64, sample as u64]);
        match self {
            Task::Variables => Variables::new(words, random)?.fit(words, asking, limit),
            Task::CommonWords => CommonWords::new(sources, length, random)?.fit(words, asking, limit),
            Task::FrequentWords => FrequentWords::new(limit, random).fit(words, asking, limit),
            Task::Squad => Documents::new(sources.squad()?, sample, random).fit(words, asking, limit),
            Task::HotpotQa => Documents::new(sources.hotpot_qa()?, sample, random).fit(words, asking, limit),
            _ => Needles::new(self.needles(), sources, random)?.fit(words, asking, limit),
        }
    }

    fn found(self, exercise: &Exercise, answer: &str) -> (usize, usize) {
        self.credit().found(answer, &exercise.answers)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}
