//! The dashboard in `deploy` names metrics: a running server exports each of them.

mod running_server;

use running_server::Server;
use serde_json::{Value, json};
use server::ServerOptions;
use std::collections::BTreeSet;

const PREFIX: &str = "sparse_accelerate_";

/// Names of metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression.split(move |c| !in_name(c)).filter(|word| word.starts_with(PREFIX))
}

/// Every expression, of panels and of variables.
fn expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if ["expr", "query", "definition"].contains(&name.as_str()) => into.push(text.clone()),
            value => expressions(value, into),
        }),
        Value::Array(values) => values.iter().for_each(|value| expressions(value, into)),
        _ => {}
    }
}

#[test]
fn every_metric_of_the_dashboard_is_exported() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut named = Vec::new();
    expressions(&dashboard, &mut named);
    let named: BTreeSet<&str> = named.iter().flat_map(|expression| names(expression)).collect();

    let server = Server::start(ServerOptions::default(), 2);
    let asked = json!({ "prompt": "a long text ".repeat(20), "max_tokens": 4, "temperature": 0 });
    assert_eq!(server.post("/v1/completions", asked).0, 200);
    // A family has no sample before it counts something.
    assert_eq!(server.post("/v1/completions", json!({ "prompt": "x", "n": 0 })).0, 400);
    let (_, metrics) = server.get("/metrics");
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let missing: Vec<_> = named.difference(&exported).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{metrics}");
}
