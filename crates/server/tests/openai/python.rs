//! The official Python client, where it is installed: `OPENAI_PYTHON` is a Python that has it, `python3` otherwise.

use crate::running_server::{Server, TAGGED};
use std::process::Command;

#[test]
fn the_official_python_client_chats_calls_tools_and_reads_schemas() {
    let python = std::env::var("OPENAI_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_client = Command::new(&python).args(["-c", "import openai"]).output();
    if !has_client.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no `openai`: install it, or set OPENAI_PYTHON");
        return;
    }
    let server = Server::with_template(TAGGED);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai/client.py");
    let output = Command::new(&python).args([script, &server.url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    eprint!("{said}");
}
