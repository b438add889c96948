//! One request answered, whole or as it comes, whatever the API calls its parts.

use super::models;
use super::parameters::Parameters;
use super::stream;
use super::usage::Usage;
use crate::answering::Answering;
use crate::error::ApiError;
use crate::state::{State, now};
use axum::Json;
use axum::response::{IntoResponse, Response};
use runtime::constraint::{CompiledConstraint, Constraint};
use runtime::engine::Engine;
use runtime::request::{FinishReason, Generation, Request};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// How an API writes the choices of one answer.
pub(super) trait Api: Send + 'static {
    /// What the names of its answers begin with.
    const ID: &'static str;
    /// The kind of object that a whole answer is, and a part of a streamed one.
    const OBJECTS: [&'static str; 2];
    /// New tokens where a request does not say how many; nothing for what the context leaves.
    const DEFAULT_TOKENS: Option<usize>;

    /// That of a whole answer.
    fn whole(self, generation: &Generation) -> Value;
    /// That of the part before the first text, where there is one.
    fn begin(&mut self) -> Option<Value>;
    /// Those of the parts that more text makes.
    fn text(&mut self, piece: &str) -> Vec<Value>;
    /// Those of the last parts.
    fn end(&mut self, finish_reason: FinishReason) -> Vec<Value>;
}

/// A request, in tokens.
pub(super) struct Asked {
    prompt: Vec<u32>,
    constraint: Option<CompiledConstraint>,
}

impl Asked {
    /// `param` is the field that the constraint comes from.
    pub fn new(
        engine: &Engine,
        prompt: Vec<u32>,
        constraint: Option<&Constraint>,
        param: &'static str,
    ) -> Result<Self, ApiError> {
        let compile = |constraint| engine.constrain(constraint).map_err(|error| ApiError::from(error).about(param));
        Ok(Self { prompt, constraint: constraint.map(compile).transpose()? })
    }
}

/// What is said of an answer beside its text.
pub(super) struct Answer {
    id: String,
    created: u64,
    model: String,
    /// Whether a stream ends with what it took.
    usage: bool,
}

/// Answers what `encode` makes of a request.
pub(super) async fn answer<A: Api>(
    state: Arc<State>,
    parameters: Parameters,
    api: A,
    encode: impl FnOnce(&Engine) -> Result<Asked, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    if let Some(asked) = &parameters.model {
        models::check(&state, asked)?;
    }
    let place = state.place().ok_or_else(|| ApiError::busy(state.options.max_requests))?;
    let encoding = state.clone();
    // A long text takes its time, and so does a constraint.
    let asked = tokio::task::spawn_blocking(move || encode(encoding.engine()));
    let Asked { prompt, constraint } = asked.await.map_err(|_| ApiError::gone())??;
    let request = parameters.request(state.engine(), prompt.len(), A::DEFAULT_TOKENS)?;
    let request = Request { constraint, ..request };
    let answering = Answering::ask(&state, place, prompt, request);
    let answer = Answer {
        id: format!("{}-{:016x}", A::ID, RandomState::new().hash_one(A::ID)),
        created: now(),
        model: state.engine().model_name().into(),
        usage: parameters.stream_options.include_usage,
    };
    if parameters.stream {
        return Ok(stream::response(answering, answer, api));
    }
    let generation = answering.end().await?;
    let mut whole = answer.object(A::OBJECTS[0], Some(api.whole(&generation)));
    whole["usage"] = json!(Usage::of(&generation));
    Ok(Json(whole).into_response())
}

impl Answer {
    /// A part of a streamed answer.
    pub fn part<A: Api>(&self, choice: Value) -> Value {
        self.object(A::OBJECTS[1], Some(choice))
    }

    /// The last parts: how it ended, and what it took where that was asked for.
    pub fn last_parts<A: Api>(&self, api: &mut A, generation: &Generation) -> Vec<Value> {
        let choices = api.end(generation.finish_reason).into_iter();
        let mut parts: Vec<Value> = choices.map(|choice| self.part::<A>(choice)).collect();
        if self.usage {
            let mut last = self.object(A::OBJECTS[1], None);
            last["usage"] = json!(Usage::of(generation));
            parts.push(last);
        }
        parts
    }

    fn object(&self, object: &str, choice: Option<Value>) -> Value {
        let Self { id, created, model, .. } = self;
        let choices: Vec<Value> = choice.into_iter().collect();
        json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices })
    }
}
