//! Where `serve` takes its options from, as the program is run: flags, environment, file, defaults.

use std::path::Path;
use std::process::{Command, Output};

/// `serve` with this file of options and these variables.
fn serve(file: &Path, variables: &[(&str, &str)], more: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"));
    // Nothing of whoever runs the test.
    std::env::vars_os().for_each(|(name, _)| {
        if name.to_string_lossy().starts_with("SPARSE_ACCELERATE_") {
            program.env_remove(name);
        }
    });
    program.envs(variables.iter().copied()).args(["serve", "--config"]).arg(file).args(more).output().unwrap()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flags_stand_above_the_environment_and_that_above_the_file() {
    let file = file(
        "model = 'of-file'\nmax-running = 3\nmax-requests = 4\nmax-body = '5M'\nthreads = 1\napi-key-file = 'k'\n",
    );
    let variables = [
        ("SPARSE_ACCELERATE_MAX_RUNNING", "30"),
        ("SPARSE_ACCELERATE_MAX_REQUESTS", "40"),
        ("SPARSE_ACCELERATE_APART_ON_GPU", "true"),
        ("SPARSE_ACCELERATE_API_KEY", "secret"),
    ];
    let output = serve(file.path(), &variables, &["--max-running", "300", "--print-config"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let place = |line: usize| format!("{}, line {line}", file.path().display());
    for line in [
        "max-running = 300    # flag".to_owned(),
        "max-requests = 40    # SPARSE_ACCELERATE_MAX_REQUESTS".into(),
        "apart-on-gpu = true    # SPARSE_ACCELERATE_APART_ON_GPU".into(),
        format!("max-body = \"5M\"    # {}", place(4)),
        format!("model = \"of-file\"    # {}", place(1)),
        "listen = \"127.0.0.1:8080\"    # default".into(),
        "# tls-cert is not set".into(),
        // The key of the environment stands above the file's.
        "# api-key-file is not set".into(),
        "# the environment has a key in SPARSE_ACCELERATE_API_KEY".into(),
    ] {
        assert!(said.lines().any(|said| said == line), "no `{line}` in\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
    // What was printed is a file of options that says the same.
    let again = self::file(&said);
    let told = serve(again.path(), &[], &["--print-config"]);
    let values =
        |said: &str| said.lines().filter_map(|line| Some(line.split_once("    # ")?.0.to_owned())).collect::<Vec<_>>();
    assert_eq!(values(&String::from_utf8(told.stdout).unwrap()), values(&said));
}

#[test]
fn what_is_wrong_is_told_with_its_place_before_anything_is_loaded() {
    let file = file("model = 'none'\nlisten = '127.0.0.1:0'\ntls-cert = 'none.pem'\n");
    for (variables, more, says) in [
        (
            &[("SPARSE_ACCELERATE_MAX_RUNNING", "0")][..],
            &["--tls-key", "key.pem"][..],
            "SPARSE_ACCELERATE_MAX_RUNNING: invalid value '0'",
        ),
        (
            &[("SPARSE_ACCELERATE_PROFILE", "1")],
            &["--tls-key", "key.pem"],
            "SPARSE_ACCELERATE_PROFILE: invalid value '1'",
        ),
        (&[("SPARSE_ACCELERATE_THREADS", "x")], &["--threads=y"], "error: invalid value 'y' for '--threads <N>'"),
        (&[], &["--tls-key", "key.pem", "--max-running", "0"], "error: invalid value '0' for '--max-running <N>'"),
        (&[], &["--tls-key", "key.pem"], "cannot read none.pem"),
        (&[], &[], "--tls-key <FILE>"),
        (&[], &["--config", "x"], "--config"),
        (&[("SPARSE_ACCELERATE_TLS_CERT", "other.pem")], &["--tls-key", "key.pem"], "cannot read other.pem"),
        (&[], &["--tls-key", "key.pem", "--api-key-file", "no-key"], "cannot read no-key"),
    ] {
        let output = serve(file.path(), variables, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(says), "{more:?}: expected `{says}` in {said}");
    }
}
