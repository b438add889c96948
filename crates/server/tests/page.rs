//! The page at `/`.

mod running_server;

use running_server::{Server, agent};
use server::ServerOptions;
use std::process::Command;

#[test]
fn the_page_and_its_parts_come_without_a_key_and_run_nothing_from_elsewhere() {
    let server = Server::start(ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }, 2);
    for (path, content_type, says) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", "v1/chat/completions"),
    ] {
        let mut response = agent().get(format!("{}{path}", server.url)).call().unwrap();
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), content_type);
        assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
        assert!(response.body_mut().read_to_string().unwrap().contains(says), "{path}");
    }
}

/// As people use it. Skipped where Python has no `playwright` or there is no Chromium.
#[test]
fn people_chat_on_it() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let there = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !there(&python, &["-c", "import playwright"]) {
        return eprintln!("SKIPPED: {python} has no package `playwright`; name one that has with PYTHON");
    }
    let path = Command::new("sh").args(["-c", &format!("command -v '{chromium}'")]).output().unwrap();
    let path = String::from_utf8_lossy(&path.stdout).trim().to_owned();
    if path.is_empty() {
        return eprintln!("SKIPPED: there is no program `{chromium}`; name a Chromium with CHROMIUM");
    }
    let server = Server::start(ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }, 2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/chat.py");
    let screenshots = std::env::var("SCREENSHOTS").ok();
    let output = Command::new(&python)
        .args([script, server.url.as_str(), "secret", path.as_str()])
        .args(screenshots)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
