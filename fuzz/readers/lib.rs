//! What a fuzz target does with a file: reads it as a user's program would, and uses what was read.
//!
//! `fuzz_targets` run these under libFuzzer; `crates/runtime/tests/changed_files.rs` runs them on changed files of the corpus
//! at every commit. A fault is a panic, an abort, memory or time out of proportion to the file.

mod of_attention;
mod of_models;

/// Reads the bytes of one file; whether it was one, and of use.
pub type Reader = fn(&[u8]) -> bool;

/// Names of the targets, which are those of their folders under `corpus`, and what they do.
pub const READERS: [(&str, Reader); 8] = [
    ("calibration_file", of_attention::calibration_file),
    ("chat_template", of_models::chat_template),
    ("gguf_parse", of_models::gguf_parse),
    ("model_folder", of_models::model_folder),
    ("pattern_file", of_attention::pattern_file),
    ("plan_file", of_attention::plan_file),
    ("safetensors_file", of_models::safetensors_file),
    ("tokenizer_json", of_models::tokenizer_json),
];

/// The reader of a target.
pub fn reader(target: &str) -> Option<Reader> {
    READERS.iter().find(|(name, _)| *name == target).map(|(_, reader)| *reader)
}
