//! The report of a reproduction: the paper's experiments and open questions, answered from the result files of one model on one
//! machine.
//!
//! Each step of a reproduction is a command of the program that writes one result file; the report reads the files that are
//! there, and says which are not. It comes as a self-contained page and as Markdown.

mod beside;
mod document;
mod sections;

use crate::EvalError;
use crate::origin::Origin;
use crate::report::Word;
pub use beside::beside;
use document::Document;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was asked for, and how far it is: `reproduce.json` of a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reproduction {
    /// Name of the model.
    pub model: String,
    /// What sparse prefill aimed at, in words.
    #[serde(default = "default_goal")]
    pub goal: String,
    /// What the steps that are done hold for; nothing known in files of versions that did not look.
    #[serde(default)]
    pub origin: Origin,
    /// Its steps, in the order of the report.
    pub steps: Vec<Step>,
}

/// The one goal of versions that did not write it.
fn default_goal() -> String {
    "a recall of 0.98".into()
}

impl Reproduction {
    /// Name of the file that holds it, in the folder of its results.
    pub const FILE: &str = "reproduce.json";
}

/// One step: a command, and where its results are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name, and stem of its result file.
    pub name: String,
    /// Its command line, after the program's name.
    pub command: Vec<String>,
    /// Seconds it took; nothing before it is done.
    pub seconds: Option<f64>,
}

impl Step {
    /// Name of its result file.
    pub fn file(&self) -> String {
        format!("{}.json", self.name)
    }
}

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// One page, self-contained.
    pub html: String,
    /// The same without pictures.
    pub markdown: String,
}

/// Words that the report uses.
const WORDS: [Word; 14] = [
    Word::Ttft,
    Word::Mode,
    Word::Search,
    Word::Head,
    Word::Pattern,
    Word::Column,
    Word::Centre,
    Word::Density,
    Word::Recall,
    Word::Error,
    Word::Nll,
    Word::Exponent,
    Word::Interval,
    Word::Mcnemar,
];

/// Writes the report of the steps that are done, from their files in `folder`.
///
/// # Errors
/// When a result file that is there cannot be read.
pub fn report(reproduction: &Reproduction, folder: &Path) -> Result<Report, EvalError> {
    let Reproduction { model, goal, steps, .. } = reproduction;
    let mut document = Document::new(&format!("{model}: sparse prefill, measured"));
    document.paragraph(&format!(
        "The experiments and open questions of SparseAccelerate (arXiv 2412.06198), answered on this machine. Dense and sparse \
         attention saw the same prompts; sparse aims at {goal}. Every section names the command that made its numbers; the numbers \
         themselves are in the file beside it.",
    ));
    if let Some(made) = made(folder, steps) {
        document.paragraph(&format!("Measured on {}, with {}, from {} on.", made.on, made.with, made.date));
    }
    for step in steps {
        let path = folder.join(step.file());
        let (title, question) = sections::title(&step.name);
        document.heading(&step.name, title);
        document.paragraph(question);
        // A file of a step that is not done is of an earlier run: of another model, maybe.
        match std::fs::read_to_string(&path) {
            Ok(text) if step.seconds.is_some() => {
                let wrong = |source| EvalError::ResultFile { path: path.clone(), source };
                sections::write(&step.name, &text, &mut document).map_err(wrong)?;
                document.link(&step.file(), &format!("The numbers: {}", step.file()));
            }
            _ => document.paragraph("Not measured yet."),
        }
        document.command(&step.command);
    }
    document.end(&WORDS);
    Ok(document.finish())
}

/// Where results came from.
struct Made {
    /// The device, and the processor beside it.
    on: String,
    /// The program.
    with: String,
    /// The day, and its time.
    date: String,
}

/// What the first result file that can be read says of the machine, the program and the day.
fn made(folder: &Path, steps: &[Step]) -> Option<Made> {
    #[derive(Deserialize)]
    struct File {
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        device: String,
        cpu: Option<String>,
        commit: Option<String>,
        version: String,
        date: String,
    }
    let meta = |step: &Step| {
        let text = std::fs::read_to_string(folder.join(step.file())).ok()?;
        Some(serde_json::from_str::<File>(&text).ok()?.meta)
    };
    let Meta { device, cpu, commit, version, date } =
        steps.iter().filter(|step| step.seconds.is_some()).find_map(meta)?;
    let cpu = cpu.map_or(String::new(), |cpu| format!(", {cpu}"));
    let commit = commit.map_or(String::new(), |commit| format!(", commit {}", commit.get(..12).unwrap_or(&commit)));
    Some(Made { on: format!("{device}{cpu}"), with: format!("version {version}{commit}"), date })
}

#[cfg(test)]
mod tests;
