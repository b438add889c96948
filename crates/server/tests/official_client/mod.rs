//! The clients that an API's makers give away, in Python.

use crate::running_server::Server;
use server::ServerOptions;
use std::process::Command;

/// Runs a script beside this file with the URL of a server, its key and its model. Skipped where Python has no such package.
pub fn is_answered(package: &str, script: &str) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let import = Command::new(&python).args(["-c", &format!("import {package}")]).output();
    if !import.is_ok_and(|output| output.status.success()) {
        return eprintln!("SKIPPED: {python} has no package `{package}`; name one that has with PYTHON");
    }
    let options = ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() };
    let server = Server::start(options, 4);
    let script = format!("{}/tests/official_client/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&python).args([&script, &server.url, "secret", &server.model]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
