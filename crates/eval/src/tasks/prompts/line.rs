//! Prompts as a file has them, one a line.

use crate::EvalError;
use runtime::chat_template::Message;
use serde::Deserialize;

/// What a line of a file asks.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnPrompt {
    /// Line, from 1.
    pub line: usize,
    /// The prompt.
    pub text: Text,
    /// Right answers; none where nobody says.
    pub answers: Vec<String>,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    /// To be completed as it is.
    Plain(String),
    /// To be answered as the model's chat template puts it.
    Chat(Vec<Message>),
}

/// Strict: a field that is misspelt would be silently left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    answers: Option<Vec<String>>,
}

/// The prompts of a file of JSON lines; empty lines are none.
///
/// # Errors
/// At the first line that is not `{"prompt": "..."}` or `{"messages": [...]}`, with `"answers": ["..."]` or without.
pub fn read(file: &str) -> Result<Vec<OwnPrompt>, EvalError> {
    let lines = file.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| one(line, n + 1).map_err(|problem| EvalError::PromptLine { line: n + 1, problem })).collect()
}

fn one(json: &str, line: usize) -> Result<OwnPrompt, String> {
    // The position that serde_json names counts from the beginning of this line.
    let fields: Line = serde_json::from_str(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            error.to_string().split(" at line ").next().unwrap_or_default().to_string()
        }
        _ => format!("no JSON from column {} on", error.column()),
    })?;
    let text = match (fields.prompt, fields.messages) {
        (Some(prompt), None) if prompt.is_empty() => return Err("`prompt` is empty".into()),
        (Some(prompt), None) => Text::Plain(prompt),
        (None, Some(messages)) if messages.is_empty() => return Err("`messages` is empty".into()),
        (None, Some(messages)) => Text::Chat(messages),
        (Some(_), Some(_)) => return Err("both `prompt` and `messages`".into()),
        (None, None) => return Err("neither `prompt` nor `messages`".into()),
    };
    match fields.answers {
        Some(answers) if answers.is_empty() => Err("`answers` is empty: leave it out where none is known".into()),
        Some(answers) if answers.iter().any(|answer| answer.trim().is_empty()) => {
            Err("an answer is empty, and every text would hold it".into())
        }
        answers => Ok(OwnPrompt { line, text, answers: answers.unwrap_or_default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_and_chats_with_and_without_answers() {
        let file = "{\"prompt\": \"2 + 2 =\", \"answers\": [\"4\", \"four\"]}\r\n\n\
            {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n";
        let prompts = read(file).unwrap();
        assert_eq!(prompts.iter().map(|prompt| prompt.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(prompts[0].text, Text::Plain("2 + 2 =".into()));
        assert_eq!(prompts[0].answers, ["4", "four"]);
        assert_eq!(prompts[1].text, Text::Chat(vec![Message::user("Hi")]));
        assert!(prompts[1].answers.is_empty() && read("\n").unwrap().is_empty());
    }

    #[test]
    fn bad_lines_say_where_and_what() {
        for (line, says) in [
            ("{\"prompt\": \"a\"", "no JSON from column 14"),
            ("[]", "invalid length 0"),
            ("{\"text\": \"a\"}", "unknown field `text`, expected one of `prompt`, `messages`, `answers`"),
            ("{\"prompt\": \"a\", \"answer\": \"b\"}", "unknown field `answer`"),
            ("{\"prompt\": 3}", "integer `3`, expected a string"),
            ("{\"prompt\": \"\"}", "`prompt` is empty"),
            ("{\"messages\": []}", "`messages` is empty"),
            ("{\"messages\": [{\"content\": \"a\"}]}", "missing field `role`"),
            ("{\"prompt\": \"a\", \"messages\": []}", "both"),
            ("{\"answers\": [\"a\"]}", "neither"),
            ("{\"prompt\": \"a\", \"answers\": []}", "leave it out"),
            ("{\"prompt\": \"a\", \"answers\": [\"b\", \" \"]}", "an answer is empty"),
        ] {
            let error = read(&format!("{{\"prompt\": \"fine\"}}\n\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(says), "{line}: {error}");
        }
    }
}
