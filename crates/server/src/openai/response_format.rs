//! What an answer must look like: `response_format`, with regular expressions and grammars beside what OpenAI's API has.

use crate::error::ApiError;
use runtime::constraint::Constraint;
use serde_json::Value;

const PARAM: &str = "response_format";

/// The constraint that a format is; nothing for text.
pub(super) fn constraint(format: &Value) -> Result<Option<Constraint>, ApiError> {
    let text = |field: &str| match format[field].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(ApiError::invalid(PARAM, format!("`response_format.{field}` is missing: give it as a text"))),
    };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonObject)),
        Some("json_schema") => match &format["json_schema"]["schema"] {
            Value::Null => {
                Err(ApiError::invalid(PARAM, "`response_format.json_schema.schema` is missing: give a JSON schema"))
            }
            schema => Ok(Some(Constraint::JsonSchema(schema.clone()))),
        },
        Some("regex") => Ok(Some(Constraint::Regex(text("regex")?))),
        Some("grammar") => Ok(Some(Constraint::Grammar(text("grammar")?))),
        _ => {
            let known = "`text`, `json_object`, `json_schema`, `regex` or `grammar`";
            Err(ApiError::invalid(PARAM, format!("`response_format.type` is {}: expected {known}", format["type"])))
        }
    }
}
