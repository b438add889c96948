//! What chat completions and completions have in common: how to answer.

use crate::error::ApiError;
use crate::goal::goal;
use crate::sampling::Draw;
use runtime::engine::Engine;
use runtime::request::{AttentionMode, Request};
use runtime::sampling::Sampling;
use serde::Deserialize;
use serde_json::Value;

/// Fields of a request. Those that would change the answer and are not here yet are refused, not passed over.
#[derive(Deserialize)]
pub(super) struct Parameters {
    pub model: Option<String>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Option<Stop>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub stream_options: StreamOptions,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    n: Option<usize>,
    best_of: Option<usize>,
    logprobs: Option<Value>,
    top_logprobs: Option<Value>,
    logit_bias: Option<Value>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    pub response_format: Option<Value>,
    suffix: Option<Value>,
    echo: Option<bool>,
}

#[derive(Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub include_usage: bool,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Parameters {
    /// The request, of an answer to a prompt of so many tokens; `default_tokens` where it does not say how long.
    pub fn request(
        &self,
        engine: &Engine,
        prompt_tokens: usize,
        default_tokens: Option<usize>,
    ) -> Result<Request, ApiError> {
        self.check_known()?;
        let room = engine.room_for_new_tokens(prompt_tokens);
        let max_tokens = self.max_completion_tokens.or(self.max_tokens).or(default_tokens).unwrap_or(room);
        let stop = match self.stop.clone() {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stops)) => stops,
        };
        Ok(Request {
            max_tokens,
            attention: self.attention.unwrap_or_default(),
            goal: goal(self.recall, self.budget.as_deref())?,
            sampling: self.sampling(),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            stop,
            ..Request::default()
        })
    }

    fn sampling(&self) -> Sampling {
        let &Self { temperature, top_p, top_k, min_p, seed, .. } = self;
        Draw { temperature, top_p, top_k, min_p, seed }.into()
    }

    fn check_known(&self) -> Result<(), ApiError> {
        let nothing = |value: &Value| value.is_null() || *value == Value::Bool(false) || *value == "none";
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        for (field, fine) in [
            ("n", self.n.is_none_or(|n| n == 1)),
            ("best_of", self.best_of.is_none_or(|n| n == 1)),
            ("logprobs", self.logprobs.as_ref().is_none_or(nothing)),
            ("top_logprobs", self.top_logprobs.as_ref().is_none_or(nothing)),
            ("logit_bias", self.logit_bias.as_ref().is_none_or(Value::is_null)),
            ("frequency_penalty", self.frequency_penalty.is_none_or(|penalty| penalty == 0.0)),
            ("presence_penalty", self.presence_penalty.is_none_or(|penalty| penalty == 0.0)),
            ("tools", self.tools.as_ref().is_none_or(empty)),
            ("tool_choice", self.tool_choice.as_ref().is_none_or(nothing)),
            ("functions", self.functions.as_ref().is_none_or(empty)),
            ("suffix", self.suffix.as_ref().is_none_or(Value::is_null)),
            ("echo", !self.echo.unwrap_or(false)),
        ] {
            if !fine {
                return Err(ApiError::invalid(field, format!("`{field}` is not supported yet: leave it out")));
            }
        }
        Ok(())
    }
}
