//! Fields of the types that requests are read into are those of their schemas.

use super::document;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Where a type stands whose fields another one has as its own.
const FLATTENED: [(&str, &str); 3] = [
    ("ToolParameters", "src/openai/tools.rs"),
    ("Parameters", "src/openai/parameters.rs"),
    ("LogprobParameters", "src/openai/logprobs.rs"),
];

/// Of each schema: the file and the type that it is of.
const TYPES: [(&str, &str, &str); 23] = [
    ("/ChatRequest", "src/openai/chat.rs", "ChatRequest"),
    ("/ChatMessage", "src/openai/chat_message.rs", "ChatMessage"),
    ("/FunctionCall", "src/openai/chat_message.rs", "Function"),
    ("/AnswerParameters/properties/stream_options", "src/openai/parameters.rs", "StreamOptions"),
    ("/ChatRequest/properties/tools/items", "../runtime/src/tool_calls.rs", "Tool"),
    ("/Function", "../runtime/src/tool_calls.rs", "Function"),
    ("/CompletionRequest", "src/openai/completions.rs", "CompletionRequest"),
    ("/ResponsesRequest", "src/openai/responses/request.rs", "ResponsesRequest"),
    ("/InputItem", "src/openai/responses/input.rs", "Item"),
    ("/InputContent/anyOf/1/items", "src/content.rs", "Part"),
    ("/TextPart", "src/content.rs", "Part"),
    ("/CountTokensRequest", "src/anthropic/request.rs", "MessagesRequest"),
    ("/MessagesRequest", "src/anthropic/request.rs", "MessagesRequest"),
    ("/Turn", "src/anthropic/turns.rs", "Turn"),
    ("/Block", "src/anthropic/turns.rs", "Block"),
    ("/Tool", "src/anthropic/tools.rs", "Definition"),
    ("/ToolChoice", "src/anthropic/tools.rs", "Choice"),
    ("/TokenizeRequest", "src/tokens.rs", "Tokenize"),
    ("/DetokenizeRequest", "src/tokens.rs", "Detokenize"),
    // Answers are written by hand; of these, types are there.
    ("/Model", "src/openai/models.rs", "Model"),
    ("/Usage", "src/openai/usage.rs", "Usage"),
    ("/SparseAttention", "src/sparse_attention.rs", "SparseAttention"),
    ("/Tokens", "src/tokens.rs", "Tokens"),
];

/// Names of the fields of a type, as JSON has them, those of flattened types among them.
fn fields_of_type(file: &str, name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = std::fs::read_to_string(&path).unwrap();
    let (_, after) = source.split_once(&format!("struct {name} {{\n")).unwrap_or_else(|| panic!("no {name} in {file}"));
    let (body, _) = after.split_once("\n}").unwrap();
    let (mut fields, mut attribute) = (BTreeSet::new(), "");
    for line in body.lines().map(str::trim) {
        if line.starts_with("#[serde(") {
            attribute = line;
        } else if let Some((field, kind)) = line.split_once(": ").filter(|_| !line.starts_with("//")) {
            let kind = kind.trim_end_matches(',');
            let renamed = attribute.split_once("rename = \"").and_then(|(_, rest)| rest.split('"').next());
            if attribute.contains("flatten") {
                let (_, file) = FLATTENED.iter().find(|(flattened, _)| *flattened == kind).unwrap();
                fields.extend(fields_of_type(file, kind));
            } else {
                fields.insert(renamed.or(field.split_whitespace().last()).unwrap().to_owned());
            }
            attribute = "";
        }
    }
    fields
}

/// Names of the properties of a schema, and of all that it is made of.
fn fields_of_schema(document: &Value, pointer: &str) -> BTreeSet<String> {
    let schema = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    let of_itself = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let of_parts = parts.flat_map(|part| fields_of_schema(document, &part["$ref"].as_str().unwrap()[1..]));
    of_itself.chain(of_parts).collect()
}

#[test]
fn fields_of_requests_are_those_of_their_schemas() {
    let document = document();
    for (schema, file, name) in TYPES {
        let read = fields_of_type(file, name);
        assert!(!read.is_empty(), "{name} in {file} has no fields");
        let told = fields_of_schema(&document, &format!("/components/schemas{schema}"));
        assert_eq!(told, read, "{schema} of src/openapi/openapi.json, and {name} in {file}");
    }
}

/// Every `$ref` leads somewhere.
#[test]
fn references_lead_to_what_is_there() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in &found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses", "parameters"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(&reference), "nothing uses {reference}");
        }
    }
}
