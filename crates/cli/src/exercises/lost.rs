//! Prompts of which less was found than with dense attention, to be read and looked into.

use super::print::beginning;
use crate::arguments::ModelArguments;
use anyhow::Context;
use eval::tasks::exercises::{Exercise, Lost, Outcome, Task};
use runtime::request::Goal;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes the prompt of each into a file of the folder, and gives its path; as a plain text, without a chat template.
///
/// # Errors
/// When one cannot be written.
pub fn write<T: Task>(
    folder: &Path,
    outcome: &Outcome<T>,
    exercises: &[(T, usize, usize, Exercise)],
) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let write = |lost: &Lost<T>| {
        let of_lost = |(task, length, sample, _): &&(T, usize, usize, Exercise)| {
            (*task, *length, *sample) == (lost.task, lost.length, lost.sample)
        };
        let (.., exercise) = exercises.iter().find(of_lost).context("a prompt of what was asked")?;
        let path = folder.join(format!("{}-{}-{}.txt", lost.task, lost.length, lost.sample));
        std::fs::write(&path, exercise.text()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    outcome.lost.iter().map(write).collect()
}

/// Lists them, with the command that shows what each layer kept of the prompt where it was written.
pub fn print<T: Task>(outcome: &Outcome<T>, prompts: Option<&[PathBuf]>, model: &ModelArguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if outcome.lost.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nLost: less found than with dense attention on the same prompt")?;
    for (n, lost) in outcome.lost.iter().enumerate() {
        let Lost { task, length, sample, arm, found, dense_found, of, .. } = lost;
        writeln!(out, "{task} {length} {sample}: {arm} {found}, dense {dense_found} of {of}")?;
        for (who, answer) in
            [("expected", lost.answers.join(", ")), ("dense", lost.dense_answer.clone()), ("", lost.answer.clone())]
        {
            let who = if who.is_empty() { arm.attention.to_string() } else { who.into() };
            writeln!(out, "  {who:<8}  {:?}", beginning(answer.trim()))?;
        }
        if let Some(prompt) = prompts.map(|prompts| &prompts[n]) {
            writeln!(out, "  why:      {}", why(prompt, model, arm.goal.unwrap_or_default()))?;
        }
    }
    match prompts {
        Some(_) => Ok(()),
        None => writeln!(
            out,
            "Run again with --lost FOLDER to have their prompts as files, and the commands that show why."
        ),
    }
}

/// The command that draws which keys each head kept, and which it attends to.
fn why(prompt: &Path, model: &ModelArguments, goal: Goal) -> String {
    let goal = match goal {
        Goal::Recall(share) => format!("--recall {share}"),
        budget => format!("--budget {budget}"),
    };
    let [prompt, pictures] =
        [prompt.display(), prompt.with_extension("").display()].map(|path| quoted(&path.to_string()));
    let model = quoted(&model.model);
    format!("sparse-accelerate inspect --model {model} --prompt-file {prompt} {goal} --out {pictures}")
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:@+,=".contains(letter);
    match word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shell) in [("a/b-1.txt", "a/b-1.txt"), ("my model", "'my model'"), ("it's", "'it'\\''s'")] {
            assert_eq!(quoted(word), shell);
        }
    }
}
