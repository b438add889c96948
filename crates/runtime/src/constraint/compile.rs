//! From a constraint to a parser, within limits: whoever sent it may mean no good.

use super::{CompiledConstraint, Constraint, ConstraintError, Vocabulary, first_words};
use crate::deep_stack::{self, NoResult};
use crate::library_panics;
use llguidance::Matcher;
use llguidance::api::{StopReason, TopLevelGrammar};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The largest that is compiled; schemas of large programming interfaces, or of many tools, have some hundred kilobytes.
const MOST_BYTES: usize = 256 << 10;
/// A real one takes milliseconds. What takes longer ends by itself: the library counts its steps.
const MOST_TIME: Duration = Duration::from_secs(5);
/// References are followed by recursion: a kilobyte for every byte of a schema, and a reference has 25. It is addresses: memory only
/// for what nests so deep.
const STACK_BYTES: usize = 1024 * MOST_BYTES;
/// Between the parts of JSON: a line break and an indentation, but no more, or a weak model would write nothing else.
const JSON_SPACE: &str = r"[ \t\r\n]{1,32}";

impl CompiledConstraint {
    /// # Errors
    /// When it is no constraint, or would take too much.
    pub(crate) fn new(vocabulary: &Arc<Vocabulary>, constraint: &Constraint) -> Result<Self, ConstraintError> {
        let what = constraint.name();
        let problem = |problem: String| match first_words(&problem) {
            nothing if nothing == StopReason::NoExtensionBias.to_string() => {
                ConstraintError::Compile { what, problem: "no text matches it".into() }
            }
            problem => ConstraintError::Compile { what, problem },
        };
        let bytes = match constraint {
            Constraint::JsonObject => 0,
            Constraint::JsonSchema(schema) => schema.to_string().len(),
            Constraint::Regex(text) | Constraint::Grammar(text) => text.len(),
        };
        if bytes > MOST_BYTES {
            return Err(ConstraintError::Size { what, bytes, most: MOST_BYTES });
        }
        let (source, tokens) = (Arc::new(constraint.clone()), vocabulary.clone());
        let its = source.clone();
        let compiled = in_time(move || {
            let parser = tokens.factory.create_parser(grammar(&its));
            let mut matcher = Matcher::new(parser);
            // What no text matches is an error here, not within the first answer.
            matcher.compute_mask_or_eos().map(|_| matcher).map_err(|error| error.to_string())
        });
        match compiled {
            Some(Ok(Ok(start))) => Ok(Self { source, vocabulary: vocabulary.clone(), start: Arc::new(start) }),
            Some(Ok(Err(error)) | Err(error)) => Err(problem(error)),
            None => Err(ConstraintError::Slow { what, seconds: MOST_TIME.as_secs() }),
        }
    }
}

fn grammar(constraint: &Constraint) -> TopLevelGrammar {
    match constraint {
        Constraint::JsonObject => TopLevelGrammar::from_json_schema(with_bounded_space(json!({ "type": "object" }))),
        Constraint::JsonSchema(schema) => TopLevelGrammar::from_json_schema(with_bounded_space(schema.clone())),
        Constraint::Regex(text) => TopLevelGrammar::from_regex(text),
        Constraint::Grammar(text) => TopLevelGrammar::from_lark(text.clone()),
    }
}

/// A schema whose answers have no more space than people write, unless it says what space it wants.
pub(crate) fn with_bounded_space(mut schema: Value) -> Value {
    // `true` allows everything, as an object without fields does.
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("x-guidance").or_insert_with(|| json!({ "whitespace_pattern": JSON_SPACE }));
    }
    schema
}

/// Does `work` on a thread with a deep stack; nothing where it takes too long, a message where it panics.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<Result<T, String>> {
    match deep_stack::within(MOST_TIME, STACK_BYTES, "constraint", || library_panics::guarded(work)) {
        Ok(result) => Some(result),
        Err(NoResult::TooLong) => None,
        Err(NoResult::NoThread(error)) => Some(Err(format!("no thread for it: {error}"))),
        Err(NoResult::Gone) => Some(Err("its thread is gone".into())),
    }
}
