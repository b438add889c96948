//! Requests of Dynamo's front end as the engine has them.

use crate::refusal::{invalid, of_engine, unsupported};
use dynamo_backend_common::{DynamoError, GuidedDecodingOptions, PreprocessedRequest, SamplingOptions};
use runtime::constraint::Constraint;
use runtime::engine::Engine;
use runtime::request::{AttentionMode, Goal, Request};
use runtime::sampling::Sampling;
use serde_json::Value;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// A request, in tokens.
pub struct Asked {
    pub prompt: Vec<u32>,
    pub request: Request,
    /// Tokens that end the answer; each is its last.
    pub stop_ids: HashSet<u32>,
}

impl Asked {
    /// # Errors
    /// When it asks for what this worker does not do, or what nobody can.
    pub fn new(
        engine: &Engine,
        asked: &PreprocessedRequest,
        attention: AttentionMode,
        goal: Goal,
    ) -> Result<Self, DynamoError> {
        check_known(asked)?;
        // The front end puts none in front of the text of a completion.
        let prompt = engine.tokenizer().with_bos(asked.token_ids.to_vec());
        let (stops, sampling) = (&asked.stop_conditions, &asked.sampling_options);
        let log_probabilities = asked.output_options.logprobs.map(|others| others as usize);
        let room = engine.room_for_new_tokens(prompt.len());
        let constraint = sampling.guided_decoding.as_ref().map(constraint).transpose()?.flatten();
        let request = Request {
            max_tokens: stops.max_tokens.map_or(room, |tokens| tokens as usize),
            attention,
            goal,
            sampling: drawn(sampling),
            repetition_penalty: sampling.repetition_penalty.unwrap_or(1.0),
            frequency_penalty: sampling.frequency_penalty.unwrap_or(0.0),
            presence_penalty: sampling.presence_penalty.unwrap_or(0.0),
            log_probabilities,
            stop_at_eos: !stops.ignore_eos.unwrap_or(false),
            // The front end ends answers at these texts, too, and leaves them out. With probabilities it is left to that alone: the
            // engine would not tell of the tokens of such a text.
            stop: stops.stop.clone().filter(|_| log_probabilities.is_none()).unwrap_or_default(),
            constraint: constraint.map(|constraint| engine.constrain(&constraint)).transpose().map_err(of_engine)?,
            ..Request::default()
        };
        let stop_ids = [&stops.stop_token_ids, &stops.stop_token_ids_visible, &stops.stop_token_ids_hidden];
        let stop_ids = stop_ids.into_iter().flatten().flatten().copied().collect();
        Ok(Self { prompt, request, stop_ids })
    }
}

/// As OpenAI's API has it: without a temperature, what the model says is drawn as it says it.
fn drawn(options: &SamplingOptions) -> Sampling {
    match options.temperature.unwrap_or(1.0) {
        0.0 => Sampling::Greedy,
        temperature => Sampling::Random {
            temperature,
            // -1 keeps all, as 0 does.
            top_k: options.top_k.map_or(0, |k| usize::try_from(k).unwrap_or(0)),
            top_p: options.top_p.unwrap_or(1.0),
            min_p: options.min_p.unwrap_or(0.0),
            seed: options.seed.map_or_else(|| RandomState::new().hash_one(()), i64::cast_unsigned),
        },
    }
}

fn constraint(options: &GuidedDecodingOptions) -> Result<Option<Constraint>, DynamoError> {
    let GuidedDecodingOptions { json, regex, choice, grammar, backend: _, whitespace_pattern, structural_tag } =
        options;
    if whitespace_pattern.is_some() {
        return Err(unsupported("guided_whitespace_pattern"));
    }
    if structural_tag.is_some() {
        return Err(unsupported("structural_tag"));
    }
    Ok(match (json, regex, choice, grammar) {
        (None, None, None, None) => None,
        (Some(schema), None, None, None) => Some(Constraint::JsonSchema(parsed(schema)?)),
        (None, Some(regex), None, None) => Some(Constraint::Regex(regex.clone())),
        (None, None, Some(choices), None) => Some(Constraint::Regex(one_of(choices))),
        (None, None, None, Some(grammar)) => Some(Constraint::Grammar(grammar.clone())),
        _ => {
            return Err(invalid("an answer can be guided by one of json, regex, choice and grammar: send one of them"));
        }
    })
}

/// A schema may come as a text.
fn parsed(schema: &Value) -> Result<Value, DynamoError> {
    match schema {
        Value::String(text) => {
            serde_json::from_str(text).map_err(|error| invalid(format!("`guided_json` is no JSON schema: {error}")))
        }
        schema => Ok(schema.clone()),
    }
}

/// Any of these texts, as they stand.
fn one_of(choices: &[String]) -> String {
    let literal = |text: &String| -> String {
        let escaped =
            text.chars().flat_map(|c| ("\\.+*?()|[]{}^$#&-~".contains(c)).then_some('\\').into_iter().chain([c]));
        escaped.collect()
    };
    format!("({})", choices.iter().map(literal).collect::<Vec<_>>().join("|"))
}

fn check_known(asked: &PreprocessedRequest) -> Result<(), DynamoError> {
    let (stops, sampling, output) = (&asked.stop_conditions, &asked.sampling_options, &asked.output_options);
    for (field, fine) in [
        ("n", sampling.n.is_none_or(|n| n == 1)),
        ("best_of", sampling.best_of.is_none_or(|n| n == 1)),
        ("use_beam_search", !sampling.use_beam_search.unwrap_or(false)),
        ("min_tokens", stops.min_tokens.is_none_or(|tokens| tokens == 0)),
        ("max_thinking_tokens", stops.max_thinking_tokens.is_none()),
        ("prompt_logprobs", output.prompt_logprobs.is_none()),
        ("prompt_embeds", asked.prompt_embeds.is_none()),
        ("images, audio or video", asked.multi_modal_data.as_ref().is_none_or(|data| data.is_empty())),
    ] {
        if !fine {
            return Err(unsupported(field));
        }
    }
    Ok(())
}
