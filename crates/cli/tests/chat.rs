//! `chat`, from a pipe: on the default model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn default_model() -> Option<PathBuf> {
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        eprintln!("SKIPPED: the default model is not there; scripts/fetch-model gets it");
    }
    path.exists().then_some(path)
}

fn chat(model: &Path, flags: &[&str], lines: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"))
        .args(["chat", "--device", "cpu", "--model"])
        .arg(model)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    // It may end before it reads all.
    let _ = child.stdin.take().expect("piped").write_all(lines.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn turns_go_on_and_are_saved() {
    let Some(model) = default_model() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (saved, attached) = (folder.path().join("chat.json"), folder.path().join("note.txt"));
    std::fs::write(&attached, "The secret colour is purple.\n").unwrap();
    let lines = format!(
        "/attach {}\nWhat is the secret \\\ncolour?\n/attention dense\nThank you.\n/stats\n/save {}\n/reset\n/stats\n/exit\nnever read\n",
        attached.display(),
        saved.display()
    );
    let output = chat(&model, &["--system", "You are brief.", "-n", "24"], &lines);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.contains("purple"), "{out}");
    let summaries: Vec<_> = err.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(summaries.len(), 2, "{err}");
    assert!(!summaries[0].contains("read before") && summaries[1].contains("read before"), "{err}");
    assert!(err.contains("2 answers") && err.contains("attention dense") && err.contains("0 answers"), "{err}");

    let messages: serde_json::Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    let roles: Vec<_> = messages.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    let asked = "note.txt:\n\nThe secret colour is purple.\n\nWhat is the secret \ncolour?";
    assert_eq!(messages[1]["content"], asked);
    assert_eq!(messages[3]["content"], "Thank you.");
}

#[test]
fn what_is_wrong_ends_a_script() {
    let Some(model) = default_model() else { return };
    for (flags, lines, says) in [
        (&[][..], "/nothing\nHello\n", "no command /nothing"),
        (&[], "/attach /no/such/file\n", "/no/such/file"),
        (&["--file", "/no/such/file"], "", "/no/such/file"),
        (&["--system-file", "/no/such/file"], "", "/no/such/file"),
        (
            &["--context", "64", "--system", "One two three four five six seven eight nine ten. ".repeat(20).leak()],
            "Hello\n",
            "64",
        ),
    ] {
        let output = chat(&model, flags, lines);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{err}");
        assert!(err.contains(says) && !err.contains("panicked"), "expected `{says}` in: {err}");
    }
    let output = chat(&model, &[], "");
    assert!(output.status.success() && output.stdout.is_empty());
}
