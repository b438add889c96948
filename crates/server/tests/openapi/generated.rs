//! Requests that `schemathesis` makes of the document, right ones and wrong ones: no fault of the server, no status, content type or body
//! that the document does not tell of.

use super::running_server::agent;
use super::{KEY, MAX_REQUESTS, document, server};
use serde_json::{Value, json};
use std::process::Command;

/// Of each operation and kind; `OPENAPI_EXAMPLES` for another number.
const EXAMPLES: &str = "60";
/// What a document cannot say: that an expression compiles, that a prompt fits; that a list of the fields of an object is read for it.
const NOT_CHECKED: &str = "positive_data_acceptance,negative_data_rejection";

/// The document with what this server has: by guesses alone, hardly a request would name its model and its tokens.
fn of_this_server(model: &str) -> Value {
    let mut document = document();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for schema in schemas.values_mut() {
        if let Some(asked) = schema.pointer_mut("/properties/model") {
            let may_be_null = asked["type"].is_array();
            *asked = if may_be_null { json!({ "enum": [model, null] }) } else { json!({ "const": model }) };
        }
    }
    schemas["Token"]["maximum"] = json!(256);
    let parameters = &mut schemas["AnswerParameters"]["properties"];
    parameters["n"]["maximum"] = json!(MAX_REQUESTS);
    parameters["logit_bias"]["propertyNames"]["pattern"] = json!("^[0-9]{1,2}$");
    document
}

#[test]
fn generated_requests_are_answered_as_the_document_says() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import schemathesis"]).output().is_ok_and(|output| output.status.success()) {
        return eprintln!("SKIPPED: {python} has no package `schemathesis`; name one that has with PYTHON");
    }
    let examples = std::env::var("OPENAPI_EXAMPLES").unwrap_or_else(|_| EXAMPLES.into());
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("openapi.json"), of_this_server(&server.model).to_string()).unwrap();
    let output = Command::new(&python)
        .args(["-m", "schemathesis.cli", "run", "openapi.json", "--url", &server.url, "--exclude-checks", NOT_CHECKED])
        .args(["--header", &format!("authorization: Bearer {KEY}"), "--max-examples", &examples, "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "30", "--generation-database", "none"])
        .args(["--no-color", "--continue-on-failure", "--suppress-health-check", "all"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
    // Not all was refused before it came to the engine.
    let metrics = agent().get(format!("{}/metrics", server.url)).header("x-api-key", KEY).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    let tokens = metrics.lines().find_map(|line| line.strip_prefix("sparse_accelerate_new_tokens_total ")).unwrap();
    assert!(tokens.parse::<u64>().unwrap() > 100, "{tokens} tokens were written\n{said}");
    eprintln!("{tokens} tokens were written");
}
