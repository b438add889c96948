//! `logprobs` and `top_logprobs`: what a request asks for, and how answers say it.

use super::ranges;
use crate::error::ApiError;
use crate::state::State;
use runtime::log_probabilities::{LikelyToken, SaidToken};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// OpenAI's API writes this for less, JSON having no infinity.
const LEAST: f64 = -9999.0;

/// Fields of a request.
#[derive(Deserialize)]
pub(super) struct LogprobParameters {
    /// Whether to say it, of a chat; of a completion, how many.
    logprobs: Option<Value>,
    top_logprobs: Option<i64>,
}

impl LogprobParameters {
    /// How many tokens a chat asks for beside each of the answer; nothing where it does not ask.
    pub fn of_chat(&self) -> Result<Option<usize>, ApiError> {
        let asked = match self.logprobs.as_ref().unwrap_or(&Value::Null) {
            Value::Null | Value::Bool(false) => false,
            Value::Bool(true) => true,
            other => {
                return Err(ApiError::invalid(
                    "logprobs",
                    format!("`logprobs` is {other}: expected `true` or `false`"),
                ));
            }
        };
        ranges::integer("top_logprobs", self.top_logprobs, 0..=20)?;
        let others = self.top_logprobs.unwrap_or(0) as usize;
        if others > 0 && !asked {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            return Err(ApiError::invalid("top_logprobs", message));
        }
        Ok(asked.then_some(others))
    }

    /// As [`of_chat`](Self::of_chat), of a completion.
    pub fn of_completion(&self) -> Result<Option<usize>, ApiError> {
        if self.top_logprobs.is_some() {
            let message = "`top_logprobs` is for chats: a completion says by `logprobs` how many";
            return Err(ApiError::invalid("top_logprobs", message));
        }
        match self.logprobs.as_ref().unwrap_or(&Value::Null) {
            Value::Null | Value::Bool(false) => Ok(None),
            asked => {
                let count = asked.as_i64().ok_or_else(|| {
                    ApiError::invalid("logprobs", format!("`logprobs` is {asked}: expected an integer, 0 to 5"))
                })?;
                ranges::integer("logprobs", Some(count), 0..=5)?;
                Ok(Some(count as usize))
            }
        }
    }
}

/// Writes how likely tokens were, where that was asked for.
pub(super) struct Logprobs {
    pub state: Arc<State>,
    pub asked: bool,
}

impl Logprobs {
    /// As a choice of a chat has them.
    pub fn of_chat(&self, tokens: &[SaidToken]) -> Value {
        if !self.asked {
            return Value::Null;
        }
        let content = tokens.iter().map(|said| {
            let mut token = self.of_token(&said.token);
            token["top_logprobs"] = said.most_likely.iter().map(|token| self.of_token(token)).collect();
            token
        });
        json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
    }

    /// As a choice of a completion has them: what was drawn is always among the most likely.
    pub fn of_completion(&self, tokens: &[SaidToken]) -> Value {
        if !self.asked {
            return Value::Null;
        }
        let spelt = |token: &LikelyToken| self.spelt(token.id, "bytes:");
        let most_likely = |said: &SaidToken| -> Map<String, Value> {
            said.most_likely.iter().chain([&said.token]).map(|token| (spelt(token), logprob(token))).collect()
        };
        json!({
            "tokens": tokens.iter().map(|said| spelt(&said.token)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|said| logprob(&said.token)).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(most_likely).collect::<Vec<_>>(),
            "text_offset": tokens.iter().map(|said| said.text_offset).collect::<Vec<_>>(),
        })
    }

    fn of_token(&self, token: &LikelyToken) -> Value {
        let bytes = Some(self.state.engine().token_bytes(token.id)).filter(|bytes| !bytes.is_empty());
        json!({ "token": self.spelt(token.id, ""), "logprob": logprob(token), "bytes": bytes })
    }

    /// Its text; the name of one without, and bytes that are no text as OpenAI's API spells them, behind `mark`.
    fn spelt(&self, id: u32, mark: &str) -> String {
        let engine = self.state.engine();
        match engine.token_bytes(id) {
            [] => engine.token_text(id).unwrap_or_default(),
            bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => bytes.iter().fold(mark.to_owned(), |spelt, byte| spelt + &format!("\\x{byte:02x}")),
            },
        }
    }
}

fn logprob(token: &LikelyToken) -> Value {
    json!(token.log_probability.max(LEAST))
}
