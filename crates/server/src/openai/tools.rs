//! What OpenAI's requests say of tools, and calls as its messages have them.

use crate::error::ApiError;
use crate::tools::Tools;
use runtime::chat_template::{FunctionCall, ToolCall, ToolKind};
use runtime::engine::Engine;
use runtime::tool_calls::{Function, Tool, ToolChoice};
use serde::Deserialize;
use serde_json::{Value, json};

/// Fields of a request.
#[derive(Default, Deserialize)]
pub(super) struct ToolParameters {
    pub tools: Option<Value>,
    pub tool_choice: Option<Value>,
    pub parallel_tool_calls: Option<bool>,
}

/// Where a function's fields stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FunctionFields {
    /// In a field `function` beside the type, as chat completions have it.
    Nested,
    /// Beside the type, as responses have it.
    Flat,
}

impl ToolParameters {
    /// Those that may be called; nothing where none may.
    pub fn read(&self, engine: &Engine, fields: FunctionFields) -> Result<Option<Tools>, ApiError> {
        Tools::new(engine, self.tools(fields)?, self.choice(fields)?, self.parallel())
    }

    /// Whether an answer may have several calls.
    pub fn parallel(&self) -> bool {
        self.parallel_tool_calls.unwrap_or(true)
    }

    fn tools(&self, fields: FunctionFields) -> Result<Vec<Tool>, ApiError> {
        let Some(tools) = self.tools.as_ref().filter(|tools| !tools.is_null()) else { return Ok(Vec::new()) };
        let read = match (fields, tools.as_array()) {
            (FunctionFields::Flat, Some(tools)) => return tools.iter().map(flat_tool).collect(),
            _ => Vec::deserialize(tools),
        };
        read.map_err(no_functions)
    }

    /// Nothing where none shall be called.
    fn choice(&self, fields: FunctionFields) -> Result<Option<ToolChoice>, ApiError> {
        let Some(choice) = &self.tool_choice else { return Ok(Some(ToolChoice::Auto)) };
        match (choice, choice.as_str()) {
            (Value::Null, _) | (_, Some("auto")) => return Ok(Some(ToolChoice::Auto)),
            (_, Some("none")) => return Ok(None),
            (_, Some("required")) => return Ok(Some(ToolChoice::Required)),
            _ => {}
        }
        let (name, named) = match fields {
            FunctionFields::Nested => {
                (&choice["function"]["name"], json!({ "type": "function", "function": { "name": "NAME" } }))
            }
            FunctionFields::Flat => (&choice["name"], json!({ "type": "function", "name": "NAME" })),
        };
        match name.as_str() {
            Some(name) if choice["type"] == "function" => Ok(Some(ToolChoice::Named(name.into()))),
            _ => {
                let message = format!("`tool_choice` is {choice}: expected `none`, `auto`, `required` or `{named}`");
                Err(ApiError::invalid("tool_choice", message))
            }
        }
    }
}

fn no_functions(error: serde_json::Error) -> ApiError {
    ApiError::invalid("tools", format!("`tools` are no list of functions: {error}"))
}

fn flat_tool(tool: &Value) -> Result<Tool, ApiError> {
    match tool["type"].as_str() {
        Some("function") => {
            let function = Function::deserialize(tool).map_err(no_functions)?;
            Ok(Tool { kind: ToolKind::Function, function })
        }
        Some(kind) => {
            let message = format!(
                "a tool of type `{kind}` is not supported: this server runs no tools itself; give functions of your own, of type `function`"
            );
            Err(ApiError::invalid("tools", message))
        }
        None => Err(ApiError::invalid("tools", format!("a tool is {tool}: expected an object of type `function`"))),
    }
}

/// A call that was made before; `arguments` are JSON in a text, and `param` is the field of the request that has it.
pub(super) fn tool_call(id: String, name: String, arguments: &str, param: &'static str) -> Result<ToolCall, ApiError> {
    // Some clients write no arguments so.
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let wrong = |error| {
        let message =
            format!("the arguments of call `{id}` are no JSON object ({error}): send those that the answer had");
        ApiError::invalid(param, message)
    };
    let arguments = serde_json::from_str(text).map_err(wrong)?;
    Ok(ToolCall { id, kind: ToolKind::Function, function: FunctionCall { name, arguments } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(tools: Value, choice: Value) -> ToolParameters {
        ToolParameters { tools: Some(tools), tool_choice: Some(choice), parallel_tool_calls: None }
    }

    #[test]
    fn functions_are_the_same_flat_or_nested() {
        let function =
            json!({ "name": "now", "description": "The time.", "parameters": { "type": "object" }, "strict": true });
        let mut flat = function.clone();
        flat["type"] = json!("function");
        let nested = json!([{ "type": "function", "function": function }]);
        let flat = parameters(json!([flat]), json!({ "type": "function", "name": "now" }));
        let nested = parameters(nested, json!({ "type": "function", "function": { "name": "now" } }));
        let read = |parameters: &ToolParameters, fields| {
            (parameters.tools(fields).unwrap(), parameters.choice(fields).unwrap())
        };
        let (tools, choice) = read(&flat, FunctionFields::Flat);
        assert_eq!(choice, Some(ToolChoice::Named("now".into())));
        assert_eq!((tools[0].function.strict, tools.len()), (Some(true), 1));
        assert_eq!((tools, choice), read(&nested, FunctionFields::Nested));
        let message = flat.choice(FunctionFields::Nested).unwrap_err().message().to_owned();
        assert!(message.contains("`{\"type\":\"function\",\"function\":{\"name\":\"NAME\"}}`"), "{message}");
    }

    #[test]
    fn tools_that_run_elsewhere_and_what_is_none_are_refused() {
        for (tools, says) in [
            (json!([{ "type": "web_search" }]), "a tool of type `web_search` is not supported"),
            (json!([{ "type": "custom", "name": "x" }]), "a tool of type `custom` is not supported"),
            (json!([{ "name": "x" }]), "expected an object of type `function`"),
            (json!([{ "type": "function" }]), "missing field `name`"),
            (json!([7]), "a tool is 7"),
            (json!("x"), "no list of functions"),
        ] {
            let error = parameters(tools, Value::Null).tools(FunctionFields::Flat).unwrap_err();
            assert!(error.message().contains(says), "{}", error.message());
        }
    }
}
