//! A line that was typed: something to say, or a command.

use crate::arguments::choices::mode_named;
use runtime::request::AttentionMode;
use std::path::PathBuf;

/// What the commands are.
pub const HELP: &str = "\
/attach FILE       puts the text of a file before the next question
/attention MODE    auto, dense or sparse from here on
/stats             what the conversation took so far
/save FILE         writes the messages as JSON
/reset             forgets the conversation, not what the model was told about its part
/help              these lines
/exit              ends the program, as Ctrl-D does
A line that begins with // says / to the model. A line that ends with \\ goes on. Ctrl-C stops an answer.";

#[derive(Debug, PartialEq)]
pub enum Line {
    Say(String),
    Attach(PathBuf),
    Attention(AttentionMode),
    Stats,
    Save(PathBuf),
    Reset,
    Help,
    Exit,
    Nothing,
}

impl Line {
    /// # Errors
    /// When there is no such command, or it needs something else behind it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            return Ok(Line::Nothing);
        }
        let Some(command) = trimmed.strip_prefix('/') else { return Ok(Line::Say(line.to_string())) };
        if command.starts_with('/') {
            return Ok(Line::Say(command.to_string()));
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let file = || match rest.trim() {
            "" => Err(format!("/{name} needs a file: /{name} FILE")),
            path => Ok(PathBuf::from(path)),
        };
        let alone = |line| match rest.trim() {
            "" => Ok(line),
            rest => Err(format!("/{name} takes nothing behind it, found `{rest}`")),
        };
        match name {
            "attach" => file().map(Line::Attach),
            "save" => file().map(Line::Save),
            "attention" => mode_named(rest.trim()).map(Line::Attention),
            "stats" => alone(Line::Stats),
            "reset" => alone(Line::Reset),
            "help" => alone(Line::Help),
            "exit" | "quit" => alone(Line::Exit),
            _ => Err(format!("there is no command /{name}: /help lists them, and //{name} says /{name} to the model")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_or_obeyed() {
        for (line, is) in [
            ("hello / there", Line::Say("hello / there".into())),
            ("  indented", Line::Say("  indented".into())),
            ("//help", Line::Say("/help".into())),
            (" /help ", Line::Help),
            ("/attach a file.txt ", Line::Attach("a file.txt".into())),
            ("/save\tout.json", Line::Save("out.json".into())),
            ("/attention dense", Line::Attention(AttentionMode::Dense)),
            ("/stats", Line::Stats),
            ("/reset", Line::Reset),
            ("/exit", Line::Exit),
            ("/quit", Line::Exit),
            (" \t", Line::Nothing),
        ] {
            assert_eq!(Line::parse(line), Ok(is), "{line}");
        }
        for (line, says) in [
            ("/attach", "needs a file"),
            ("/save  ", "needs a file"),
            ("/attention", "auto"),
            ("/attention fast", "fast"),
            ("/reset now", "takes nothing"),
            ("/nothing", "no command /nothing"),
            ("/", "no command /"),
        ] {
            let message = Line::parse(line).unwrap_err();
            assert!(message.contains(says), "{line}: {message}");
        }
    }
}
