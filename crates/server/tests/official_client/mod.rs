//! The clients that an API's makers give away, in Python.
#![allow(dead_code)] // not every test asks a model of each kind

use crate::running_server::Server;
use runtime::engine::{Engine, EngineOptions};
use runtime::request::Device;
use server::ServerOptions;
use std::process::Command;

/// A small one that was trained on tools.
const TOOLS_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");

/// Runs a script beside this file with the URL of a server, its key and its model. Skipped where Python has no such package.
pub fn is_answered(package: &str, script: &str) {
    if let Some(python) = python_with(&[package]) {
        run(&python, script, &Server::start(options(), 4));
    }
}

/// The same, of a model that knows tools; skipped where there is none.
pub fn is_answered_with_tools(package: &str, script: &str) {
    let Some(python) = python_with(&[package, "jsonschema"]) else { return };
    if !std::path::Path::new(TOOLS_MODEL).exists() {
        return eprintln!("SKIPPED: no {TOOLS_MODEL}");
    }
    let engine_options = EngineOptions { device: Device::Cpu, ..EngineOptions::default() };
    let engine = Engine::load(TOOLS_MODEL, &engine_options, &mut |_| {}).unwrap();
    run(&python, script, &Server::with_engine(engine, options(), 2));
}

fn options() -> ServerOptions {
    ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }
}

/// The Python that has these.
fn python_with(packages: &[&str]) -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let import = format!("import {}", packages.join(", "));
    let imported = Command::new(&python).args(["-c", &import]).output();
    let has_all = imported.is_ok_and(|output| output.status.success());
    if !has_all {
        eprintln!("SKIPPED: {python} has not all of the packages {packages:?}; name one that has with PYTHON");
    }
    has_all.then_some(python)
}

fn run(python: &str, script: &str, server: &Server) {
    let script = format!("{}/tests/official_client/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python).args([&script, &server.url, "secret", &server.model]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
}
