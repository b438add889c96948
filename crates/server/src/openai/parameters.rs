//! What chat completions and completions have in common: how to answer.

use super::logprobs::LogprobParameters;
use super::ranges;
use crate::error::ApiError;
use crate::goal::goal;
use crate::sampling::Draw;
use runtime::engine::Engine;
use runtime::request::{AttentionMode, Request};
use runtime::sampling::Sampling;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

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
    /// Answers go on behind the model's end, as vLLM and llama.cpp have it: for whoever measures.
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    attention: Option<AttentionMode>,
    recall: Option<f32>,
    budget: Option<String>,
    n: Option<i64>,
    best_of: Option<usize>,
    #[serde(flatten)]
    pub logprobs: LogprobParameters,
    logit_bias: Option<BTreeMap<String, f32>>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    pub response_format: Option<Value>,
    suffix: Option<Value>,
    echo: Option<bool>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Parameters {
    /// How many answers.
    pub fn answers(&self) -> Result<usize, ApiError> {
        ranges::integer("n", self.n, 1..=128)?;
        Ok(self.n.unwrap_or(1) as usize)
    }

    /// Whether parts of the answers are sent as they come.
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream ends with what it took.
    pub fn streams_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The request of each answer to a prompt of so many tokens; `default_tokens` where it does not say how long.
    pub fn requests(
        &self,
        engine: &Engine,
        prompt_tokens: usize,
        default_tokens: Option<usize>,
    ) -> Result<Vec<Request>, ApiError> {
        let request = self.request(engine, prompt_tokens, default_tokens)?;
        let of_answer = |at| Request { sampling: of_answer(request.sampling, at), ..request.clone() };
        Ok((0..self.answers()? as u64).map(of_answer).collect())
    }

    fn request(
        &self,
        engine: &Engine,
        prompt_tokens: usize,
        default_tokens: Option<usize>,
    ) -> Result<Request, ApiError> {
        self.check_known()?;
        ranges::decimal("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?;
        ranges::decimal("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
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
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            logit_bias: self.logit_bias(engine.config().vocab_size)?,
            stop,
            stop_at_eos: !self.ignore_eos.unwrap_or(false),
            ..Request::default()
        })
    }

    fn sampling(&self) -> Sampling {
        let &Self { temperature, top_p, top_k, min_p, seed, .. } = self;
        Draw { temperature, top_p, top_k, min_p, seed }.into()
    }

    /// By token; JSON has texts for names.
    fn logit_bias(&self, vocab_size: usize) -> Result<BTreeMap<u32, f32>, ApiError> {
        let invalid = |message| ApiError::invalid("logit_bias", message);
        let given = self.logit_bias.iter().flatten().map(|(token, &added)| {
            ranges::decimal("logit_bias", Some(added), -100.0..=100.0)?;
            let id: u32 = token.parse().map_err(|_| {
                invalid(format!(
                    "Invalid key in 'logit_bias': {token}. You should only be submitting non-negative integers."
                ))
            })?;
            match (id as usize) < vocab_size {
                true => Ok((id, added)),
                false => {
                    Err(invalid(format!("Invalid key in 'logit_bias': {token}. Maximum value is {}.", vocab_size - 1)))
                }
            }
        });
        given.collect()
    }

    fn check_known(&self) -> Result<(), ApiError> {
        let nothing = |value: &Value| value.is_null() || *value == Value::Bool(false) || *value == "none";
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        for (field, fine) in [
            ("best_of", self.best_of.is_none_or(|n| n == 1)),
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

/// Each answer draws by a seed of its own; the first by the one that was given.
fn of_answer(sampling: Sampling, at: u64) -> Sampling {
    match sampling {
        Sampling::Random { temperature, top_k, top_p, min_p, seed } => {
            Sampling::Random { temperature, top_k, top_p, min_p, seed: seed.wrapping_add(at) }
        }
        Sampling::Greedy => Sampling::Greedy,
    }
}
