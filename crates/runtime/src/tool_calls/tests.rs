//! Texts that are calls and texts that are none, by a tokenizer of bytes.

use super::*;
use crate::constraint::{CompiledConstraint, Guide, Vocabulary};
use crate::tokenizer::Tokenizer;
use serde_json::json;

fn tools() -> Vec<Tool> {
    let tools = json!([
        { "type": "function", "function": { "name": "weather", "description": "Of a place.", "parameters": {
            "type": "object", "required": ["place"], "additionalProperties": false,
            "properties": { "place": { "$ref": "#/$defs/place" }, "days": { "type": "integer", "minimum": 1, "maximum": 14 } },
            "$defs": { "place": { "type": "string", "pattern": "^[A-Z][a-z}\"]+$" } } } } },
        { "type": "function", "function": { "name": "now" } },
    ]);
    serde_json::from_value(tools).unwrap()
}

/// The beginning of a text that is allowed, and whether the answer may end behind it.
fn follow(form: CallForm, choice: &ToolChoice, parallel: bool, text: &str) -> (String, bool) {
    let tokenizer = Tokenizer::of_bytes().unwrap();
    let vocabulary = Vocabulary::new(&tokenizer).unwrap();
    let constraint = constraint(form, &tools(), choice, parallel).unwrap();
    let compiled = CompiledConstraint::new(&vocabulary, &constraint).unwrap_or_else(|error| panic!("{error}"));
    let mut guide = Guide::new(&compiled, Some(&vocabulary)).unwrap();
    // One more than there are bytes: the end.
    let mut allowed = [0.0; 257];
    let mut followed = Vec::new();
    for id in tokenizer.encode(text).unwrap() {
        allowed.fill(0.0);
        guide.narrow(&mut allowed).unwrap();
        if allowed[id as usize] != 0.0 {
            break;
        }
        guide.take(id).unwrap();
        followed.push(id);
    }
    allowed.fill(0.0);
    guide.narrow(&mut allowed).unwrap();
    (tokenizer.decode(&followed), allowed[256] == 0.0)
}

/// All that was written, in pieces of so many characters.
fn read(form: CallForm, text: &str, characters: usize) -> (String, Vec<(String, String)>) {
    let mut reader = CallReader::new(form, &tools());
    let characters_of: Vec<char> = text.chars().collect();
    let pieces = characters_of.chunks(characters).map(|piece| piece.iter().collect::<String>());
    let mut written: Vec<Written> = pieces.flat_map(|piece| reader.push(&piece)).collect();
    written.extend(reader.finish());
    let (mut said, mut calls) = (String::new(), Vec::new());
    for part in written {
        match part {
            Written::Text(text) => said += &text,
            Written::Call(name) => calls.push((name, String::new())),
            Written::Arguments(json) => calls.last_mut().expect("a call").1 += &json,
        }
    }
    (said, calls)
}

const TAGGED: &str =
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": \"Ulm}\\\"\", \"days\": 3}}\n</tool_call>";
const BARE: &str = "{\"name\": \"weather\", \"parameters\": {\"place\":\"Ulm\"}}";

#[test]
fn calls_and_text_are_allowed_where_they_may_be() {
    use CallForm::{Bare, Tagged};
    let now = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let named = ToolChoice::Named("weather".into());
    let (auto, required) = (ToolChoice::Auto, ToolChoice::Required);
    for (form, choice, parallel, text, allowed, ends) in [
        (Tagged, &auto, true, "It is 5 < 6 <tool>.".to_owned(), 19, true),
        (Tagged, &auto, true, TAGGED.into(), TAGGED.len(), true),
        (Tagged, &auto, true, format!("I look.\n{TAGGED}\n{now}"), 8 + TAGGED.len() + 1 + now.len(), true),
        (Tagged, &auto, false, format!("{TAGGED}\n{now}"), TAGGED.len(), true),
        (Tagged, &auto, true, "<tool_call> what?".into(), 11, false),
        (Tagged, &auto, true, format!("{TAGGED} Done."), TAGGED.len(), true),
        (Tagged, &required, true, "No.".into(), 0, false),
        (Tagged, &required, true, now.into(), now.len(), true),
        (Tagged, &named, true, now.into(), now.find("now").unwrap(), false),
        (Tagged, &required, true, TAGGED.replace("Ulm", "ulm"), TAGGED.find("Ulm").unwrap(), false),
        (Tagged, &required, true, TAGGED.replace("3}", "15}"), TAGGED.find("3}").unwrap() + 1, false),
        (Bare, &auto, true, "Fine. {\"name\": \"x\"}".into(), 19, true),
        (Bare, &auto, true, "{\"names\": 1}".into(), 12, true),
        (Bare, &auto, true, BARE.into(), BARE.len(), true),
        (Bare, &auto, true, "{\"name\": \"nobody\"}".into(), 18, true),
        (Bare, &auto, true, format!("{BARE} Done."), BARE.len(), true),
        (Tagged, &auto, true, "{\"name\": \"now\", \"arguments\": {}}".into(), 32, true),
        (Tagged, &auto, true, "{\"name\": \"now\", \"arguments\": 7}".into(), 29, false),
        (Tagged, &auto, true, "{\"name\": \"now\"}".into(), 15, true),
        (Bare, &required, true, BARE.into(), BARE.len(), true),
        (Bare, &named, true, "{\"name\": \"now\"".into(), 10, false),
    ] {
        let (followed, may_end) = follow(form, choice, parallel, &text);
        assert_eq!((followed.as_str(), may_end), (&text[..allowed], ends), "{choice:?} {text}");
    }
}

#[test]
fn calls_are_read_back_in_whatever_pieces_they_come() {
    let call = |arguments: &str| ("weather".to_owned(), arguments.to_owned());
    let tagged = call("{\"place\": \"Ulm}\\\"\", \"days\": 3}");
    for (form, text, said, calls) in [
        (CallForm::Tagged, "5 < 6 <tool".to_owned(), "5 < 6 <tool", vec![]),
        (
            CallForm::Tagged,
            format!("Ich öffne es.\n{TAGGED}\n{TAGGED}"),
            "Ich öffne es.\n",
            vec![tagged.clone(), tagged.clone()],
        ),
        // Cut short.
        (CallForm::Tagged, TAGGED[..60].into(), "", vec![call("{\"place\": \"Ulm}")]),
        (CallForm::Tagged, TAGGED[..20].into(), "", vec![]),
        (CallForm::Bare, BARE.into(), "", vec![call("{\"place\":\"Ulm\"}")]),
        (CallForm::Bare, format!("So: {BARE}"), &format!("So: {BARE}"), vec![]),
        (CallForm::Bare, "{\"na".into(), "{\"na", vec![]),
        (CallForm::Tagged, "{\"name\": \"Bob\"}".into(), "{\"name\": \"Bob\"}", vec![]),
        (CallForm::Tagged, BARE.replace("parameters", "arguments"), "", vec![call("{\"place\":\"Ulm\"}")]),
    ] {
        for characters in [1, 2, 7, 1000] {
            assert_eq!(read(form, &text, characters), (said.to_owned(), calls.clone()), "{text}");
        }
    }
}

#[test]
fn tools_that_cannot_be_called_are_refused() {
    let tool = |name: &str, parameters: Value| Tool {
        kind: ToolKind::Function,
        function: Function { name: name.into(), description: None, parameters: Some(parameters), strict: None },
    };
    let of = |tools: &[Tool], choice: ToolChoice| {
        constraint(CallForm::Tagged, tools, &choice, true).unwrap_err().to_string()
    };
    let fine = tool("a-b_1", json!({}));
    for (tools, choice, says) in [
        (vec![tool("a b", json!({}))], ToolChoice::Auto, "a tool is named `a b`"),
        (vec![tool("", json!({}))], ToolChoice::Auto, "a tool is named ``"),
        (vec![tool(&"a".repeat(65), json!({}))], ToolChoice::Auto, "64 letters"),
        (vec![fine.clone(), fine.clone()], ToolChoice::Auto, "two tools are named `a-b_1`"),
        (vec![fine.clone()], ToolChoice::Named("c".into()), "the tool `c` is to be called"),
        (vec![], ToolChoice::Required, "there is none"),
        (vec![tool("a", json!({ "type": "string" }))], ToolChoice::Auto, "no JSON schema of an object"),
        (vec![tool("a", json!([]))], ToolChoice::Auto, "no JSON schema of an object"),
    ] {
        let message = of(&tools, choice);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_template_tells_how_calls_are_written() {
    for (source, form) in [
        ("{% if tools %}<tool_call>{\"name\": .., \"arguments\": ..}{% endif %}", Some(CallForm::Tagged)),
        ("{% if tools %}ipython {\"name\": .., \"parameters\": ..}{% endif %}", Some(CallForm::Bare)),
        ("{% if tools %}<tool_call><function=name> arguments{% endif %}", None),
        ("{% if tools %}[TOOL_CALLS]{% endif %}", None),
        ("{{ messages }}", None),
    ] {
        assert_eq!(CallForm::of_template(source), form, "{source}");
    }
}
