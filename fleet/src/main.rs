//! A worker for NVIDIA Dynamo: token ids come from Dynamo's front end, token ids go back as they are chosen.
//!
//! The front end has the HTTP API, the chat template and the tokenizer; a router chooses the worker; the worker has the model. What it
//! does with a request is what `sparse-accelerate serve` does with its own: [`runtime::engine::service::Service`] answers several at once.

mod answering;
mod arguments;
mod card;
#[cfg(test)]
mod conformance;
mod load;
mod pages;
mod refusal;
mod request;
mod worker;

use arguments::Arguments;
use clap::Parser;
use std::sync::Arc;
use worker::SparseWorker;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let card = card::Card::of(&arguments.model)?;
    let config = arguments.worker_config(&card)?;
    dynamo_backend_common::run(Arc::new(SparseWorker::new(arguments)), config)
}
