//! Prompts against RULER's definitions, with sources of our own.

mod needles;
mod others;
mod run;

use super::{Sources, Task};
use crate::scripted_model::ScriptedModel;
use crate::tasks::exercises::{Asking, Exercise, Task as _};
use crate::tasks::word_tokens::WordTokens;
use std::collections::HashMap;

/// What RULER's sources look like, written for these tests.
fn sources() -> Sources {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    // No digits, so that the first number of a prompt is a needle's.
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    let words = |stem: &str| (0..300).map(|n| format!("{stem}{}{}\n", letter(n / 26), letter(n))).collect::<String>();
    write("nounlist.txt", words("noun"));
    write("adjectivelist.txt", words("big") + "blue-eyed \n\n");
    write("verblist.txt", words("go") + "nounaa\n");
    let essay: String = (0..200).map(|n| format!("Essay sentence {n} is\n  short. ")).collect();
    write("PaulGrahamEssays.json", serde_json::json!({ "text": essay }).to_string());
    let paragraph = |article: usize, n: usize| {
        serde_json::json!({
            "context": format!("Paragraph {n} of article {article}. It says that fact {article}{n} holds."),
            "qas": [
                {"question": format!("Which fact, {article}-{n}?"), "answers": [{"text": format!("fact {article}{n}")}, {"text": "Fact"}],
                 "is_impossible": false},
                {"question": "What nobody knows?", "answers": [], "is_impossible": true},
            ],
        })
    };
    let article =
        |a: usize| serde_json::json!({"title": "x", "paragraphs": (0..5).map(|n| paragraph(a, n)).collect::<Vec<_>>()});
    write("squad.json", serde_json::json!({"data": (0..20).map(article).collect::<Vec<_>>()}).to_string());
    let asked = |n: usize| {
        let page = |m: usize| serde_json::json!([format!("Page {m}"), [format!("Of page {m}."), " More."]]);
        serde_json::json!({"question": format!("Question {n}?"), "answer": "yes", "context": [page(2 * n), page(2 * n + 1)]})
    };
    write("hotpotqa.json", serde_json::Value::from((0..50).map(asked).collect::<Vec<_>>()).to_string());
    Sources::read(folder.path(), &Task::ALL).unwrap()
}

fn exercise(task: Task, length: usize, sample: usize, seed: u64) -> Exercise {
    let model = ScriptedModel::default();
    task.exercise(&WordTokens::new(&model), Asking::Plain, &sources(), [length, sample], seed).unwrap()
}

/// How often each word stands in a text.
fn counted(text: &str) -> HashMap<&str, usize> {
    text.split_whitespace().fold(HashMap::new(), |mut counts, word| {
        *counts.entry(word).or_insert(0) += 1;
        counts
    })
}

#[test]
fn prompts_fill_their_length_and_are_the_same_for_the_same_seed() {
    // Tokens are bytes here. The next piece of text: a word, a needle, a document, a word's repetitions.
    let piece = |task| match task {
        Task::Single1 | Task::Variables => 100,
        Task::MultiKey2 | Task::MultiKey3 | Task::Squad | Task::HotpotQa => 150,
        Task::CommonWords => 50,
        _ => 30,
    };
    for task in Task::ALL {
        for length in [2000, 8000] {
            let room = length - task.answer_tokens();
            let first = exercise(task, length, 0, 7);
            let tokens = first.text().len();
            assert!(tokens <= room && tokens + piece(task) > room, "{task}: {tokens} of {room}");
            assert_eq!(first, exercise(task, length, 0, 7), "{task}");
            assert_ne!(first, exercise(task, length, 1, 7), "{task}");
            if task != Task::Squad && task != Task::HotpotQa {
                assert_ne!(first.answers, exercise(task, length, 0, 8).answers, "{task}");
            }
        }
    }
}

#[test]
fn chats_have_the_opening_behind_the_template() {
    let model = ScriptedModel::default();
    for task in Task::ALL {
        let exercise = task.exercise(&WordTokens::new(&model), Asking::Chat, &sources(), [3000, 0], 0).unwrap();
        let text = ScriptedModel::text(&exercise.encode(&model, Asking::Chat).unwrap());
        assert!(text.ends_with(&format!("{}{}", exercise.question, exercise.opening)));
        assert_eq!(exercise.shown.is_some(), task == Task::CommonWords);
    }
}

#[test]
fn names_are_rulers() {
    for task in Task::ALL {
        assert_eq!(serde_json::to_value(task).unwrap(), task.name());
    }
}

#[test]
fn what_is_missing_is_known_by_task() {
    let none = Sources::default();
    let run: Vec<&str> =
        Task::ALL.iter().filter(|task| none.missing(**task).is_empty()).map(|task| task.name()).collect();
    assert_eq!(run, ["niah_multikey_3", "vt", "fwe"]);
    assert_eq!(none.missing(Task::Squad), ["squad.json"]);
    assert_eq!(none.missing(Task::Single2).len(), 4);
    assert!(Task::ALL.iter().all(|task| sources().missing(*task).is_empty()));
}

#[test]
fn files_that_hold_something_else_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, texts) in [
        ("squad.json", &["", "{}", "{\"data\": []}", "[1]"][..]),
        ("hotpotqa.json", &["nothing", "[]", "[{\"question\": 1}]"]),
        ("PaulGrahamEssays.json", &["{\"text\": \" \"}", "{\"text\": 5}"]),
    ] {
        for text in texts {
            std::fs::write(folder.path().join(name), text).unwrap();
            let error = Sources::read(folder.path(), &Task::ALL).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("fetch-ruler-texts"), "{error}");
        }
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
}
