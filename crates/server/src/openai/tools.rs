//! What a request says of tools, and calls of them as answers have them.

use crate::error::ApiError;
use crate::random;
use runtime::constraint::Constraint;
use runtime::engine::Engine;
use runtime::tool_calls::{self, CallForm, CallReader, Tool, ToolChoice, Written};
use serde::Deserialize;
use serde_json::{Value, json};

/// Fields of a request.
#[derive(Default, Deserialize)]
pub(super) struct ToolParameters {
    tools: Option<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
}

/// Tools that an answer may call.
pub(super) struct Tools {
    pub tools: Vec<Tool>,
    pub form: CallForm,
    pub constraint: Constraint,
}

impl ToolParameters {
    /// Those that may be called; nothing where none may.
    pub fn read(self, engine: &Engine) -> Result<Option<Tools>, ApiError> {
        let choice = self.choice()?;
        let tools: Vec<Tool> = match self.tools.filter(|tools| !tools.is_null()) {
            Some(tools) => serde_json::from_value(tools)
                .map_err(|error| ApiError::invalid("tools", format!("`tools` are no list of functions: {error}")))?,
            None => Vec::new(),
        };
        let Some(choice) = choice.filter(|choice| *choice != ToolChoice::Auto || !tools.is_empty()) else {
            return Ok(None);
        };
        let form = engine.call_form().ok_or_else(|| {
            let message = "this model's chat template takes no tools, or tells of calls in a form that is not known (those of Qwen and \
                           Hermes, with `<tool_call>`, and of Llama 3 are): serve another model, or leave `tools` out";
            ApiError::invalid("tools", message)
        })?;
        let parallel = self.parallel_tool_calls.unwrap_or(true);
        let constraint = tool_calls::constraint(form, &tools, &choice, parallel)
            .map_err(|error| ApiError::invalid("tools", error.to_string()))?;
        Ok(Some(Tools { tools, form, constraint }))
    }

    /// Nothing where none shall be called.
    fn choice(&self) -> Result<Option<ToolChoice>, ApiError> {
        let Some(choice) = &self.tool_choice else { return Ok(Some(ToolChoice::Auto)) };
        match (choice, choice.as_str()) {
            (Value::Null, _) | (_, Some("auto")) => Ok(Some(ToolChoice::Auto)),
            (_, Some("none")) => Ok(None),
            (_, Some("required")) => Ok(Some(ToolChoice::Required)),
            _ => match choice["function"]["name"].as_str() {
                Some(name) if choice["type"] == "function" => Ok(Some(ToolChoice::Named(name.into()))),
                _ => {
                    let known =
                        "`none`, `auto`, `required` or `{\"type\": \"function\", \"function\": {\"name\": ...}}`";
                    Err(ApiError::invalid("tool_choice", format!("`tool_choice` is {choice}: expected {known}")))
                }
            },
        }
    }
}

/// The calls of one answer, as they come.
pub(super) struct Calls {
    reader: CallReader,
    count: usize,
}

impl Calls {
    pub fn new(form: CallForm, tools: &[Tool]) -> Self {
        Self { reader: CallReader::new(form, tools), count: 0 }
    }

    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.count > 0
    }

    /// What a piece of the answer adds to its message.
    pub fn deltas(&mut self, piece: &str) -> Vec<Value> {
        let written = self.reader.push(piece);
        written.into_iter().map(|written| self.delta(written)).collect()
    }

    /// What its end does.
    pub fn last_delta(&mut self) -> Option<Value> {
        let written = self.reader.finish()?;
        Some(self.delta(written))
    }

    fn delta(&mut self, written: Written) -> Value {
        let call = match written {
            Written::Text(text) => return json!({ "content": text }),
            Written::Call(name) => {
                self.count += 1;
                let id = random::name("call_");
                json!({ "index": self.count - 1, "id": id, "type": "function", "function": { "name": name, "arguments": "" } })
            }
            // Arguments come behind a call only.
            Written::Arguments(json) => {
                json!({ "index": self.count.saturating_sub(1), "function": { "arguments": json } })
            }
        };
        json!({ "tool_calls": [call] })
    }
}

/// The message of a whole answer, put together from its deltas as clients do it.
pub(super) fn message(deltas: &[Value]) -> Value {
    let (mut content, mut calls) = (String::new(), Vec::<Value>::new());
    for delta in deltas {
        content += delta["content"].as_str().unwrap_or_default();
        let call = &delta["tool_calls"][0];
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        match (&call["id"], calls.last_mut()) {
            (Value::String(id), _) => calls.push(json!({
                "id": id, "type": "function", "function": { "name": call["function"]["name"], "arguments": arguments },
            })),
            (_, Some(last)) => {
                let so_far = last["function"]["arguments"].as_str().unwrap_or_default();
                last["function"]["arguments"] = Value::from(format!("{so_far}{arguments}"));
            }
            (_, None) => {}
        }
    }
    let content = if content.is_empty() && !calls.is_empty() { Value::Null } else { Value::from(content) };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
    }
    message
}
