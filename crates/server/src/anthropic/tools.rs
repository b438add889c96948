//! What a request says of tools.

use crate::error::ApiError;
use crate::tools::Tools;
use runtime::chat_template::ToolKind;
use runtime::engine::Engine;
use runtime::tool_calls::{Function, Tool, ToolChoice};
use serde::Deserialize;
use serde_json::Value;

/// A tool as a request has it: of the client's own, or of a type that Anthropic defines.
#[derive(Deserialize)]
pub(super) struct Definition {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    description: Option<String>,
    input_schema: Option<Value>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

/// Those that may be called; nothing where none may.
pub(super) fn read(
    engine: &Engine,
    definitions: Vec<Definition>,
    choice: Option<Choice>,
) -> Result<Option<Tools>, ApiError> {
    let tools = definitions.into_iter().map(Definition::into_tool).collect::<Result<_, _>>()?;
    let one_call = choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).unwrap_or(false);
    let choice = choice.map_or(Ok(Some(ToolChoice::Auto)), Choice::into_tool_choice)?;
    Tools::new(engine, tools, choice, !one_call)
}

impl Definition {
    fn into_tool(self) -> Result<Tool, ApiError> {
        let invalid = |message| Err(ApiError::invalid("tools", message));
        if let Some(kind) = self.kind.filter(|kind| kind != "custom") {
            return invalid(format!(
                "a tool of type `{kind}` is not supported: such tools are Anthropic's; give one of your own, with `name`, `description` and `input_schema`"
            ));
        }
        let Some(name) = self.name else { return invalid("a tool has no `name`: give it one".into()) };
        let Some(schema) = self.input_schema else {
            return invalid(format!("the tool `{name}` has no `input_schema`: give the JSON schema of an object"));
        };
        let Self { description, strict, .. } = self;
        Ok(Tool {
            kind: ToolKind::Function,
            function: Function { name, description, parameters: Some(schema), strict },
        })
    }
}

impl Choice {
    /// Nothing where none shall be called.
    fn into_tool_choice(self) -> Result<Option<ToolChoice>, ApiError> {
        match (self.kind.as_str(), self.name) {
            ("auto", _) => Ok(Some(ToolChoice::Auto)),
            ("any", _) => Ok(Some(ToolChoice::Required)),
            ("none", _) => Ok(None),
            ("tool", Some(name)) => Ok(Some(ToolChoice::Named(name))),
            ("tool", None) => {
                let message = "`tool_choice` is of type `tool` without `name`: say which tool is to be called";
                Err(ApiError::invalid("tool_choice", message))
            }
            (kind, _) => {
                let message = format!("`tool_choice` is of type `{kind}`: expected `auto`, `any`, `tool` or `none`");
                Err(ApiError::invalid("tool_choice", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tools_are_those_of_templates() {
        let schema = json!({ "type": "object", "properties": { "place": { "type": "string" } } });
        let tool = json!({ "name": "weather", "description": "Of a place.", "input_schema": schema, "strict": true,
            "cache_control": { "type": "ephemeral" } });
        let mut typed = tool.clone();
        typed["type"] = json!("custom");
        for tool in [tool, typed] {
            let Tool { function, .. } = Definition::deserialize(tool).unwrap().into_tool().unwrap();
            assert_eq!((function.name.as_str(), function.strict), ("weather", Some(true)));
            assert_eq!(
                (function.description.as_deref(), function.parameters),
                (Some("Of a place."), Some(schema.clone()))
            );
        }
        for (tool, says) in [
            (json!({ "type": "web_search_20250305", "name": "web_search" }), "a tool of type `web_search_20250305`"),
            (json!({ "type": "bash_20250124", "name": "bash" }), "a tool of type `bash_20250124`"),
            (json!({ "input_schema": {} }), "a tool has no `name`"),
            (json!({ "name": "x" }), "the tool `x` has no `input_schema`"),
        ] {
            let error = Definition::deserialize(tool).unwrap().into_tool().unwrap_err();
            assert!(error.message().contains(says), "{}", error.message());
        }
    }

    #[test]
    fn choices_are_read() {
        let choice = |choice: Value| Choice::deserialize(choice).unwrap().into_tool_choice();
        assert_eq!(
            choice(json!({ "type": "auto", "disable_parallel_tool_use": true })).unwrap(),
            Some(ToolChoice::Auto)
        );
        assert_eq!(choice(json!({ "type": "any" })).unwrap(), Some(ToolChoice::Required));
        assert_eq!(choice(json!({ "type": "none" })).unwrap(), None);
        let named = choice(json!({ "type": "tool", "name": "x" })).unwrap();
        assert_eq!(named, Some(ToolChoice::Named("x".into())));
        for (wrong, says) in
            [(json!({ "type": "tool" }), "without `name`"), (json!({ "type": "required" }), "`required`")]
        {
            assert!(choice(wrong).unwrap_err().message().contains(says));
        }
    }
}
