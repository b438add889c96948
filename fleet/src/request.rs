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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(options: Value) -> PreprocessedRequest {
        let mut asked = json!({"token_ids": [1, 2, 3]});
        asked.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        serde_json::from_value(asked).unwrap()
    }

    #[test]
    fn what_is_not_followed_is_refused_by_its_name() {
        for (field, options) in [
            ("n", json!({"sampling_options": {"n": 2}})),
            ("best_of", json!({"sampling_options": {"best_of": 3}})),
            ("use_beam_search", json!({"sampling_options": {"use_beam_search": true}})),
            ("min_tokens", json!({"stop_conditions": {"min_tokens": 5}})),
            ("max_thinking_tokens", json!({"stop_conditions": {"max_thinking_tokens": 5}})),
            ("prompt_logprobs", json!({"output_options": {"prompt_logprobs": 0}})),
            ("prompt_embeds", json!({"prompt_embeds": "AAAA"})),
            ("images", json!({"multi_modal_data": {"image_url": [{"Url": "http://localhost/a.png"}]}})),
        ] {
            let message = check_known(&asked(options)).expect_err(field).to_string();
            assert!(message.contains(field), "{message}");
        }
        let harmless = json!({"sampling_options": {"n": 1, "best_of": 1}, "stop_conditions": {"min_tokens": 0}});
        assert!(check_known(&asked(harmless)).is_ok());
    }

    #[test]
    fn drawing_is_as_asked_for() {
        let drawn = |options: Value| drawn(&asked(json!({"sampling_options": options})).sampling_options);
        assert_eq!(drawn(json!({"temperature": 0.0, "top_p": 0.5})), Sampling::Greedy);
        let random = Sampling::Random { temperature: 0.5, top_k: 0, top_p: 0.9, min_p: 0.0, seed: u64::MAX };
        assert_eq!(drawn(json!({"temperature": 0.5, "top_k": -1, "top_p": 0.9, "seed": -1})), random);
        assert!(matches!(drawn(json!({})), Sampling::Random { temperature: 1.0, top_k: 0, top_p: 1.0, .. }));
    }

    #[test]
    fn guided_answers_are_guided_by_one_thing() {
        let guided = |options: Value| constraint(&serde_json::from_value(options).unwrap());
        assert_eq!(guided(json!({})).unwrap(), None);
        assert_eq!(guided(json!({"choice": ["a.b", "c|d"]})).unwrap(), Some(Constraint::Regex(r"(a\.b|c\|d)".into())));
        let schema = Constraint::JsonSchema(json!({"type": "object"}));
        assert_eq!(guided(json!({"json": "{\"type\": \"object\"}"})).unwrap(), Some(schema));
        for wrong in [
            json!({"json": "{"}),
            json!({"json": {}, "regex": "a"}),
            json!({"regex": "a", "whitespace_pattern": " "}),
            json!({"structural_tag": {}}),
        ] {
            assert!(guided(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
