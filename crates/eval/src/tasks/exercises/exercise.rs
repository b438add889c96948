//! A prompt, as a plain text or as a chat.

use crate::tasks::fit;
use crate::tasks::word_tokens::WordTokens;
use crate::{Completer, EvalError};
use runtime::chat_template::Message;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A question about a long text, and what answers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exercise {
    /// A question and its answer that are shown first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<(String, String)>,
    /// The text and the question.
    pub question: String,
    /// What the answer opens with; the model goes on from there.
    pub opening: String,
    /// What the answer should hold.
    pub answers: Vec<String>,
}

/// How a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// By a text that it goes on with: RULER's way with base models.
    Plain,
    /// In its chat template, the opening of the answer behind it: RULER's way with instruct models.
    Chat,
}

impl Exercise {
    /// Token ids of the prompt.
    ///
    /// # Errors
    /// When the model has no chat template and is asked by one, or its tokenizer refuses.
    pub fn encode(&self, model: &impl Completer, asking: Asking) -> Result<Vec<u32>, EvalError> {
        let ids = match asking {
            Asking::Plain => model.encode(&self.text()),
            Asking::Chat => model.encode_chat(&self.messages(), &self.opening),
        };
        Ok(ids?)
    }

    /// As a plain text.
    pub fn text(&self) -> String {
        let shown = self.shown.iter().flat_map(|(question, answer)| [question, answer, "\n"]);
        shown.chain([self.question.as_str(), &self.opening]).collect()
    }

    fn messages(&self) -> Vec<Message> {
        let shown = self.shown.iter();
        shown
            .flat_map(|(question, answer)| [Message::user(question), Message::assistant(answer)])
            .chain([Message::user(&self.question)])
            .collect()
    }
}

/// Writes the prompt of one sample with more or less text around what is asked for.
pub(in crate::tasks) trait Writer {
    /// How much text there may be.
    fn counts(&self) -> RangeInclusive<usize>;

    /// The prompt with so much text. The same text is always the same prompt.
    fn write(&self, count: usize) -> Exercise;

    /// The longest prompt of at most `limit` tokens.
    fn fit(&self, words: &WordTokens<impl Completer>, asking: Asking, limit: usize) -> Result<Exercise, EvalError>
    where
        Self: Sized,
    {
        let estimate = |count| words.estimate(&self.write(count).text());
        let tokens = |count| Ok(self.write(count).encode(words.model, asking)?.len());
        let count = fit::most(limit, self.counts(), estimate, tokens)?;
        Ok(self.write(count))
    }
}
