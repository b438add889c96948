//! Talk with a model.

mod line;
mod session;

use crate::arguments::Chat;
use crate::interruption::Interruption;
use crate::progress;
use anyhow::Context;
use line::{HELP, Line};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use session::Session;
use std::io::{self, IsTerminal};

pub fn run(arguments: Chat) -> anyhow::Result<()> {
    let system = match (&arguments.system, &arguments.system_file) {
        (None, None) => None,
        (text, file) => Some(crate::prompt::read(text.as_deref(), file.as_deref())?),
    };
    let engine = progress::load(&arguments.model)?;
    let mut session = Session::new(&engine, &arguments, system)?;
    for file in &arguments.files {
        session.attach(file)?;
    }
    let is_terminal = io::stdin().is_terminal();
    let mut editor = DefaultEditor::new().context("cannot read from the terminal")?;
    let interruption = Interruption::listen().context("cannot listen for signals")?;
    if is_terminal {
        crate::note(&format!(
            "{} on {}. /help lists what else can be typed.",
            engine.model_name(),
            engine.device_name()
        ));
    }
    loop {
        let line = match read(&mut editor) {
            Ok(line) => line,
            Err(ReadlineError::Eof) => return Ok(()),
            // Of a line that is being typed.
            Err(ReadlineError::Interrupted) => {
                crate::note("Ctrl-D or /exit ends the program.");
                continue;
            }
            Err(error) => return Err(error).context("cannot read what is typed"),
        };
        let done = match Line::parse(&line) {
            Err(problem) => Err(anyhow::Error::msg(problem)),
            Ok(Line::Nothing) => continue,
            Ok(Line::Exit) => return Ok(()),
            Ok(Line::Say(text)) => session.say(text, &interruption),
            Ok(Line::Attach(file)) => session.attach(&file),
            Ok(Line::Attention(mode)) => {
                session.attention = mode;
                Ok(())
            }
            Ok(Line::Stats) => {
                crate::note(&session.stats());
                Ok(())
            }
            Ok(Line::Save(file)) => session.save(file),
            Ok(Line::Reset) => {
                session.reset();
                Ok(())
            }
            Ok(Line::Help) => {
                crate::note(HELP);
                Ok(())
            }
        };
        match (done, is_terminal) {
            (Ok(()), _) => {}
            (Err(error), _) if crate::is_broken_pipe(&error) => return Err(error),
            (Err(error), true) => crate::note(&crate::option_names::as_flags(&format!("error: {error:#}"))),
            // A script that goes on behind an error answers other questions than it asks.
            (Err(error), false) => return Err(error),
        }
        match interruption.came() {
            Some(interrupted) if !is_terminal => return Err(interrupted.into()),
            _ => interruption.forget(),
        }
    }
}

/// A line, and those that go on behind a backslash.
fn read(editor: &mut DefaultEditor) -> rustyline::Result<String> {
    let mut text = String::new();
    loop {
        let line = editor.readline(if text.is_empty() { "> " } else { ". " })?;
        match line.strip_suffix('\\') {
            Some(begin) => {
                text += begin;
                text.push('\n');
            }
            None => {
                text += &line;
                editor.add_history_entry(&text)?;
                return Ok(text);
            }
        }
    }
}
