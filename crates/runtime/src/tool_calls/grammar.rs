//! What a model that may call tools can write, as a grammar.

use super::{CLOSING, CallForm, MOST_NAME_BYTES, OPENING, Tool, ToolChoice, ToolError};
use crate::constraint::{Constraint, with_bounded_space};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write;

/// The constraint of an answer that may call `tools`, several times where it is `parallel` and the form has a way to write that.
///
/// # Errors
/// When a tool cannot be called.
pub fn constraint(
    form: CallForm,
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
) -> Result<Constraint, ToolError> {
    let mut names = HashSet::new();
    for Tool { function, .. } in tools {
        check_name(&function.name)?;
        if !names.insert(&function.name) {
            return Err(ToolError::Twice(function.name.clone()));
        }
    }
    let chosen: Vec<&Tool> = match choice {
        ToolChoice::Named(name) => tools.iter().filter(|tool| tool.function.name == *name).collect(),
        ToolChoice::Auto | ToolChoice::Required => tools.iter().collect(),
    };
    match choice {
        ToolChoice::Named(name) if chosen.is_empty() => return Err(ToolError::Unknown(name.clone())),
        _ if chosen.is_empty() => return Err(ToolError::None),
        _ => {}
    }
    let mut grammar = start(form, *choice == ToolChoice::Auto, &chosen);
    let calls: Vec<String> = (0..chosen.len()).map(|n| format!("call_{n}")).collect();
    rule(&mut grammar, "call", &calls.join(" | "));
    if form == CallForm::Tagged {
        let more = if parallel { "(NEXT call CLOSE)*" } else { "" };
        rule(&mut grammar, "calls", &format!("call CLOSE {more}"));
    }
    let [before, between, behind] = form.around();
    for (n, Tool { function, .. }) in chosen.into_iter().enumerate() {
        let head = quoted(&format!("{before}{}{between}", function.name));
        rule(&mut grammar, &format!("call_{n}"), &format!("{head} arguments_{n} {}", quoted(behind)));
        let schema = schema(&function.name, function.parameters.as_ref(), function.strict.unwrap_or(false))?;
        rule(&mut grammar, &format!("arguments_{n}"), &format!("%json {schema}"));
    }
    Ok(Constraint::Grammar(grammar))
}

/// From where it starts. Text goes on to the opening of the first call, and nothing else may follow that. What begins as a call without
/// its tag is one as well: small models forget the tag.
fn start(form: CallForm, text: bool, tools: &[&Tool]) -> String {
    let tags = format!("NEXT: {}\nCLOSE: {}\n", quoted(&format!("\n{OPENING}\n")), quoted(&format!("\n{CLOSING}")));
    let [before, between, _] = form.around();
    let names: Vec<&str> = tools.iter().map(|tool| tool.function.name.as_str()).collect();
    // Names and what stands around them have no letter that means something in an expression but `{`.
    let head = format!("{before}({}){between}", names.join("|")).replace('{', "\\{");
    match (form, text) {
        (CallForm::Tagged, true) => format!(
            "start: TEXT? | call | open \"\\n\" calls\n\
             TEXT: /(?s:.+)/ & ~/(?s:.*{OPENING}.*)/ & ~/(?s:{head}.*)/\n\
             open[lazy]: OPEN\nOPEN: /(?s:.*){OPENING}/ & ~/(?s:{head}.*)/\n{tags}"
        ),
        (CallForm::Tagged, false) => format!("start: {} calls\n{tags}", quoted(&format!("{OPENING}\n"))),
        (CallForm::Bare, true) => format!("start: TEXT? | call\nTEXT: /(?s:.+)/ & ~/(?s:{head}.*)/\n"),
        (CallForm::Bare, false) => "start: call\n".into(),
    }
}

fn rule(grammar: &mut String, name: &str, body: &str) {
    // A text takes all that is written into it.
    let _ = writeln!(grammar, "{name}: {body}");
}

/// As strings of the grammar are written, which is as those of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn check_name(name: &str) -> Result<(), ToolError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        true => Ok(()),
        false => Err(ToolError::Name(name.chars().take(100).collect())),
    }
}

/// The schema of an object of arguments. Tools of many programs have words in their schemas that say something to people only.
fn schema(name: &str, parameters: Option<&Value>, strict: bool) -> Result<Value, ToolError> {
    let none = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let mut schema = parameters.filter(|schema| !schema.is_null()).cloned().unwrap_or(none);
    let fields = schema.as_object_mut().ok_or_else(|| ToolError::Parameters(name.into()))?;
    if fields.entry("type").or_insert_with(|| json!("object")) != "object" {
        return Err(ToolError::Parameters(name.into()));
    }
    let mut schema = with_bounded_space(schema);
    if !strict && let Some(options) = schema["x-guidance"].as_object_mut() {
        options.entry("lenient").or_insert(Value::Bool(true));
    }
    Ok(schema)
}
