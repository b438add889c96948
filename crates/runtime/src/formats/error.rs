//! What can be wrong with a file.

use super::gguf::GgufError;
use crate::memory::Bytes;
use std::path::PathBuf;

/// Why a file could not be read. Every message says what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A model in several GGUF files that are not all there, or not of one model.
    #[error("{}: {message}", path.display())]
    Parts {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Somebody wrote to a file while it was read.
    #[error(
        "{} changed while it was read: it had {before} bytes and has {now} now; load the model again when nobody writes to it", path.display()
    )]
    Changed {
        /// File.
        path: PathBuf,
        /// Bytes when it was opened.
        before: u64,
        /// Bytes now.
        now: u64,
    },
    /// The system gives no memory.
    #[error(
        "no memory for {what}: the system refused {}; free some, raise the limit of addresses (`ulimit -v`), or take a smaller model", Bytes(*.bytes)
    )]
    Allocation {
        /// What for.
        what: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The parsed head of a file would not fit.
    #[error(
        "{}: its head needs {}, {} are available: close other programs, raise the limit of addresses (`ulimit -v`) or of the control group, or take a smaller model", path.display(), Bytes(*need), Bytes(*left)
    )]
    HeadRoom {
        /// File.
        path: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes that the process may still take.
        left: u64,
    },
    /// A GGUF file that does not hold.
    #[error("{}: {error}", path.display())]
    Gguf {
        /// File.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// A JSON file that does not hold.
    #[error("{}: {message}", path.display())]
    Json {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A safetensors file that does not hold.
    #[error("{}: {message}", path.display())]
    Safetensors {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}
