//! What Dynamo asks of every engine, asked of this one.

use crate::arguments::Arguments;
use crate::card::Card;
use crate::worker::SparseWorker;
use clap::Parser;
use dynamo_backend_common::testing::run_conformance;
use std::path::Path;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/SmolLM2-135M-Instruct.Q4_1.gguf");

#[tokio::test]
async fn the_worker_conforms() {
    if !Path::new(MODEL).exists() {
        return eprintln!("SKIPPED: no {MODEL}");
    }
    let worker = || {
        let arguments = Arguments::parse_from(["sparse-accelerate-worker", "--model", MODEL, "--device", "cpu"]);
        SparseWorker::new(arguments)
    };
    run_conformance(worker).await.unwrap();
}

#[test]
fn other_roles_are_refused() {
    if !Path::new(MODEL).exists() {
        return eprintln!("SKIPPED: no {MODEL}");
    }
    let card = Card::of(MODEL).unwrap();
    let config = |flags: &[&str]| {
        let program = ["sparse-accelerate-worker", "--model", "m.gguf"];
        Arguments::parse_from(program.iter().chain(flags)).worker_config(&card)
    };
    assert_eq!(config(&[]).unwrap().model_name, card.folder().display().to_string());
    for (flags, says) in [
        (["--disaggregation-mode", "prefill"], "the role is prefill"),
        (["--disaggregation-mode", "decode"], "the role is decode"),
        (["--endpoint-types", "chat,embeddings"], "`embeddings`"),
    ] {
        let message = config(&flags).expect_err("a refusal").to_string();
        assert!(message.contains(says), "{message}");
    }
}
