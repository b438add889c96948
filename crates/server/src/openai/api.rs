//! How answers are written, whatever the API calls their parts.

use super::usage::Usage;
use crate::answering::Piece;
use crate::random;
use crate::state::now;
use runtime::request::{FinishReason, Generation};
use serde_json::{Value, json};

/// How an API writes one choice of an answer.
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
    fn text(&mut self, piece: &Piece) -> Vec<Value>;
    /// Those of the last parts.
    fn end(&mut self, finish_reason: FinishReason) -> Vec<Value>;
}

/// What is said of an answer beside its text.
pub(super) struct Answer {
    id: String,
    created: u64,
    model: String,
    /// Whether a stream ends with what it took.
    usage: bool,
}

impl Answer {
    /// One that begins now; `usage`: a stream ends with what it took.
    pub fn new<A: Api>(model: &str, usage: bool) -> Self {
        let id = random::name(&format!("{}-", A::ID));
        Self { id, created: now(), model: model.into(), usage }
    }

    /// A part of a streamed answer.
    pub fn part<A: Api>(&self, choice: Value) -> Value {
        self.object(A::OBJECTS[1], vec![choice])
    }

    /// The last part of a streamed answer, where it was asked for: what all took.
    pub fn usage_part<A: Api>(&self, generations: &[Generation]) -> Option<Value> {
        self.usage.then(|| {
            let mut last = self.object(A::OBJECTS[1], Vec::new());
            last["usage"] = json!(Usage::of(generations));
            last
        })
    }

    pub fn object(&self, object: &str, choices: Vec<Value>) -> Value {
        let Self { id, created, model, .. } = self;
        json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices })
    }
}
