//! `docs/server.md` is what a server does: its examples are run, its routes asked for.

mod running_server;

use running_server::{Server, agent, small_model};
use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use serde_json::json;
use server::ServerOptions;
use std::process::Command;

const GUIDE: &str = include_str!("../../../docs/server.md");
/// What the guide calls the server.
const URL: &str = "http://127.0.0.1:8080";
const KEY: &str = "secret";

/// A server of a model called `model`, as in the guide.
fn server(api_key: Option<&str>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    small_model::write_with(&model, json!({ "max_position_embeddings": 8192 }));
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let options = EngineOptions { device: Device::Cpu, threads: 1, ..EngineOptions::default() };
    let engine = Engine::load(model.to_str().unwrap(), &options, &mut |_| {}).unwrap();
    let options = ServerOptions { api_key: api_key.map(Into::into), ..ServerOptions::default() };
    Server::with_engine(engine, options, 4)
}

/// Blocks of code in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    let blocks = GUIDE.split(opening.as_str()).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect()
}

/// Runs a block against the server; what it printed.
fn run(program: &mut Command, block: &str) -> String {
    let output = program.env(KEY_VARIABLE, KEY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{block}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.trim().is_empty(), "it printed nothing: {block}");
    said
}

const KEY_VARIABLE: &str = "SPARSE_ACCELERATE_API_KEY";

#[test]
fn examples_of_curl_are_answered() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("SKIPPED: there is no curl");
    }
    let (open, closed) = (server(None), server(Some(KEY)));
    let blocks = blocks("sh");
    assert!(blocks.len() >= 4, "the guide has lost its examples");
    for block in blocks {
        assert!(block.contains(URL), "an example that asks something else: {block}");
        let asked = if block.contains(KEY_VARIABLE) { &closed } else { &open };
        let block = block.replace(URL, &asked.url);
        // An error of the server is one of the example.
        let script = format!(
            "set -eu\ncurl() {{ command curl --silent --show-error --fail-with-body --max-time 60 \"$@\"; }}\n{block}"
        );
        run(Command::new("bash").args(["-c", &script]), &block);
    }
}

#[test]
fn examples_of_python_are_answered() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let server = server(None);
    let blocks = blocks("python");
    assert!(blocks.len() >= 2, "the guide has lost its examples");
    for block in blocks {
        let package = block.split_whitespace().nth(1).unwrap();
        let import = Command::new(&python).args(["-c", &format!("import {package}")]).output();
        if !import.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: {python} has no package `{package}`; name one that has with PYTHON");
            continue;
        }
        let said = run(Command::new(&python).args(["-c", &block.replace(URL, &server.url)]), block);
        assert!(said.contains("'density': "), "{said}");
    }
}

/// Method and path of each route in the guide.
fn told() -> Vec<(&'static str, &'static str)> {
    let code = GUIDE.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once(' ')).filter(|(method, _)| ["GET", "POST"].contains(method)).collect()
}

#[test]
fn routes_of_the_guide_are_those_of_the_server() {
    let server = server(None);
    for (method, path) in told() {
        let url = format!("{}{}", server.url, path.replace("{*id}", "model"));
        let status = match method {
            "GET" => agent().get(url).call().unwrap().status(),
            // A body that no route takes.
            _ => agent().post(url).send_json(json!({})).unwrap().status(),
        };
        let fine = if method == "GET" { [200, 200] } else { [400, 422] };
        assert!(fine.contains(&status.as_u16()), "{method} {path}: {status}");
    }
    let told: Vec<&str> = told().into_iter().map(|(_, path)| path).collect();
    for route in include_str!("../src/lib.rs").split(".route(\"").skip(1) {
        let path = route.split('"').next().unwrap();
        assert!(told.contains(&path), "docs/server.md does not tell of {path}: write it into its table of routes");
    }
}

#[test]
fn metrics_of_the_guide_are_exported() {
    let server = server(None);
    let complete = json!({ "prompt": "a long text", "max_tokens": 4, "temperature": 0 });
    assert_eq!(server.post("/v1/completions", complete).0, 200);
    // A family has no sample before it counts something.
    assert_eq!(server.post("/v1/completions", json!({ "prompt": "x", "n": 0 })).0, 400);
    let (_, metrics) = server.get("/metrics");
    let table = GUIDE.split("\n## Watch it\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|line| line.split(" | ").next().unwrap().split(", "))
        .map(|name| name.trim_matches('`').split('{').next().unwrap())
        .collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in names {
        let sample = format!("\nsparse_accelerate_{name}");
        let exported = ["{", " ", "_count "].iter().any(|end| metrics.contains(&format!("{sample}{end}")));
        assert!(exported, "{name} is not in\n{metrics}");
    }
}
