//! The texts that tasks are made of, from a folder that `scripts/fetch-ruler-texts` fills.

use super::Task;
use crate::EvalError;
use crate::random::Random;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Word lists: nouns, adjectives, verbs.
pub(super) const WORDS: [&str; 3] = ["nounlist.txt", "adjectivelist.txt", "verblist.txt"];
/// Essays: `{"text": "..."}`.
pub(super) const ESSAYS: &str = "PaulGrahamEssays.json";
/// SQuAD 2.0's development set, in its own format.
pub(super) const SQUAD: &str = "squad.json";
/// HotpotQA's development set with distractors, in its own format.
pub(super) const HOTPOT_QA: &str = "hotpotqa.json";

/// What was read.
#[derive(Debug, Default)]
pub struct Sources {
    words: Option<WordLists>,
    essays: Option<Vec<String>>,
    squad: Option<Corpus>,
    hotpot_qa: Option<Corpus>,
}

/// English words.
#[derive(Debug)]
pub(super) struct WordLists {
    nouns: Vec<String>,
    adjectives: Vec<String>,
    all: Vec<String>,
}

/// Documents, and questions that some of them answer.
#[derive(Debug)]
pub(super) struct Corpus {
    pub documents: Vec<String>,
    pub questions: Vec<CorpusQuestion>,
}

/// A question about documents.
#[derive(Debug)]
pub(super) struct CorpusQuestion {
    pub question: String,
    /// Each of them is right.
    pub answers: Vec<String>,
    /// The documents that come with the question.
    pub own: Vec<usize>,
    /// Documents of the same article.
    pub related: Vec<usize>,
}

impl Sources {
    /// The files that these tasks need, of those that are in the folder.
    pub fn files(folder: &Path, tasks: &[Task]) -> Vec<PathBuf> {
        let names: BTreeSet<&str> = tasks.iter().flat_map(|task| task.source_files()).collect();
        names.into_iter().map(|name| folder.join(name)).filter(|file| file.is_file()).collect()
    }

    /// Reads what these tasks need. What is not there is missing, and no error.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what its name says.
    pub fn read(folder: &Path, tasks: &[Task]) -> Result<Self, EvalError> {
        let files = Self::files(folder, tasks);
        let there = |name: &str| files.iter().find(|file| file.ends_with(name)).map(PathBuf::as_path);
        let words = match WORDS.map(there) {
            [Some(nouns), Some(adjectives), Some(verbs)] => Some(WordLists::read(nouns, adjectives, verbs)?),
            _ => None,
        };
        Ok(Self {
            words,
            essays: there(ESSAYS).map(essays).transpose()?,
            squad: there(SQUAD).map(squad).transpose()?,
            hotpot_qa: there(HOTPOT_QA).map(hotpot_qa).transpose()?,
        })
    }

    /// Files that a task needs and that were not read.
    pub fn missing(&self, task: Task) -> Vec<&'static str> {
        let is_read = |file: &&str| match *file {
            ESSAYS => self.essays.is_some(),
            SQUAD => self.squad.is_some(),
            HOTPOT_QA => self.hotpot_qa.is_some(),
            _ => self.words.is_some(),
        };
        task.source_files().into_iter().filter(|file| !is_read(file)).collect()
    }

    pub(super) fn words(&self) -> Result<&WordLists, EvalError> {
        self.words.as_ref().ok_or_else(|| EvalError::NoSource { missing: WORDS.to_vec() })
    }

    pub(super) fn essays(&self) -> Result<&[String], EvalError> {
        self.essays.as_deref().ok_or_else(|| EvalError::NoSource { missing: vec![ESSAYS] })
    }

    pub(super) fn squad(&self) -> Result<&Corpus, EvalError> {
        self.squad.as_ref().ok_or_else(|| EvalError::NoSource { missing: vec![SQUAD] })
    }

    pub(super) fn hotpot_qa(&self) -> Result<&Corpus, EvalError> {
        self.hotpot_qa.as_ref().ok_or_else(|| EvalError::NoSource { missing: vec![HOTPOT_QA] })
    }
}

impl WordLists {
    fn read(nouns: &Path, adjectives: &Path, verbs: &Path) -> Result<Self, EvalError> {
        let [nouns, adjectives, verbs] = [words(nouns)?, words(adjectives)?, words(verbs)?];
        let all: BTreeSet<&String> = nouns.iter().chain(&adjectives).chain(&verbs).collect();
        let all = all.into_iter().cloned().collect();
        Ok(Self { nouns, adjectives, all })
    }

    /// An adjective and a noun, as RULER joins them.
    pub(super) fn pair(&self, random: &mut Random) -> String {
        format!("{}-{}", random.one_of(&self.adjectives), random.one_of(&self.nouns))
    }

    /// Every word once.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }
}

fn text(path: &Path) -> Result<String, EvalError> {
    std::fs::read_to_string(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    serde_json::from_str(&text(path)?)
        .map_err(|source| EvalError::Source { path: path.to_owned(), problem: source.to_string() })
}

/// A word a line.
fn words(path: &Path) -> Result<Vec<String>, EvalError> {
    let words = text(path)?.lines().map(str::trim).filter(|word| !word.is_empty()).map(String::from).collect();
    filled(words, path, "words, one a line")
}

fn filled<T>(found: Vec<T>, path: &Path, expected: &str) -> Result<Vec<T>, EvalError> {
    let problem = || EvalError::Source { path: path.to_owned(), problem: format!("expected {expected}, found none") };
    if found.is_empty() { Err(problem()) } else { Ok(found) }
}

/// The words of the essays.
fn essays(path: &Path) -> Result<Vec<String>, EvalError> {
    #[derive(Deserialize)]
    struct Essays {
        text: String,
    }
    let essays: Essays = json(path)?;
    filled(essays.text.split_whitespace().map(String::from).collect(), path, "words in `text`")
}

fn squad(path: &Path) -> Result<Corpus, EvalError> {
    #[derive(Deserialize)]
    struct Squad {
        data: Vec<Article>,
    }
    #[derive(Deserialize)]
    struct Article {
        paragraphs: Vec<Paragraph>,
    }
    #[derive(Deserialize)]
    struct Paragraph {
        context: String,
        qas: Vec<Asked>,
    }
    #[derive(Deserialize)]
    struct Asked {
        question: String,
        answers: Vec<Answer>,
        #[serde(default)]
        is_impossible: bool,
    }
    #[derive(Deserialize)]
    struct Answer {
        text: String,
    }
    let squad: Squad = json(path)?;
    let paragraphs = || squad.data.iter().flat_map(|article| &article.paragraphs);
    let documents = Documents::of(paragraphs().map(|paragraph| paragraph.context.clone()));
    let mut questions = Vec::new();
    for article in &squad.data {
        let of_article: BTreeSet<usize> =
            article.paragraphs.iter().map(|paragraph| documents.number(&paragraph.context)).collect();
        for paragraph in &article.paragraphs {
            let own = documents.number(&paragraph.context);
            let related: Vec<usize> = of_article.iter().copied().filter(|document| *document != own).collect();
            let answered = paragraph.qas.iter().filter(|asked| !asked.is_impossible && !asked.answers.is_empty());
            questions.extend(answered.map(|asked| CorpusQuestion {
                question: asked.question.clone(),
                answers: asked.answers.iter().map(|answer| answer.text.clone()).collect(),
                own: vec![own],
                related: related.clone(),
            }));
        }
    }
    Ok(Corpus { documents: documents.texts, questions: filled(questions, path, "questions with answers")? })
}

fn hotpot_qa(path: &Path) -> Result<Corpus, EvalError> {
    #[derive(Deserialize)]
    struct Asked {
        question: String,
        answer: String,
        context: Vec<(String, Vec<String>)>,
    }
    let all: Vec<Asked> = json(path)?;
    let document = |(title, sentences): &(String, Vec<String>)| format!("{title}\n{}", sentences.concat());
    let documents = Documents::of(all.iter().flat_map(|asked| &asked.context).map(document));
    let questions = (all.iter().filter(|asked| !asked.context.is_empty()))
        .map(|asked| CorpusQuestion {
            question: asked.question.clone(),
            answers: vec![asked.answer.clone()],
            own: asked.context.iter().map(|context| documents.number(&document(context))).collect(),
            related: Vec::new(),
        })
        .collect();
    Ok(Corpus { questions: filled(questions, path, "questions with documents")?, documents: documents.texts })
}

/// Every document once, and where it stands.
struct Documents {
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Documents {
    fn of(texts: impl Iterator<Item = String>) -> Self {
        let texts: Vec<String> = texts.collect::<BTreeSet<_>>().into_iter().collect();
        let numbers = texts.iter().cloned().zip(0..).collect();
        Self { texts, numbers }
    }

    /// Of one that is among them.
    fn number(&self, text: &str) -> usize {
        self.numbers[text]
    }
}
