//! What can be wrong with a model on disk.

use crate::config::{Architecture, ConfigError, ConfigFileError};
use crate::formats::FileError;
use crate::ops::OpsError;
use std::path::PathBuf;

/// Why a model could not be opened. Every message says what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that does not hold.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing there by that name.
    #[error(
        "there is no file or folder `{0}`, and it is no Hugging Face id: give a .gguf file, a Hugging Face folder, or a Hugging Face id such as `Qwen/Qwen2.5-0.5B-Instruct`"
    )]
    NotFound(String),
    /// A file of a folder that no model is read from.
    #[error("`{}` is not what the model in its folder is read from, which is {read}: give one of these, or a folder with the file and a config.json of its own", path.display())]
    NotOfModel {
        /// File.
        path: PathBuf,
        /// Names of files.
        read: String,
    },
    /// A manifest of Ollama that names no model to run.
    #[error("{}: an Ollama manifest {message}", path.display())]
    Manifest {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// What Git has in place of a large file.
    #[error(
        "{} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, or download the file itself", .0.display()
    )]
    LfsPointer(PathBuf),
    /// Rows that are no whole number of blocks.
    #[error("rows of {cols} weights are no multiple of {elements}: take `RandomWeights::Bf16`")]
    RandomRow {
        /// Elements of a row.
        cols: usize,
        /// Elements of a block.
        elements: usize,
    },
    /// The device cannot take the weights.
    #[error(transparent)]
    Device(#[from] OpsError),
    /// A model this engine cannot run.
    #[error("{}: {error}", path.display())]
    Config {
        /// File.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// A tensor the architecture needs is not in the files.
    #[error(
        "tensor `{name}` is missing: the model is incomplete, or of another architecture than it says; compare its files with those it was published with"
    )]
    MissingTensor {
        /// Name in the file.
        name: String,
    },
    /// A model that was saved without what makes tokens of its last layer.
    #[error(
        "the files have no output head (`lm_head.weight`), and the config does not tie it to the token embedding: a base model alone answers nothing; take the model with its head (`...ForCausalLM`)"
    )]
    NoOutputHead,
    /// A tensor that the architecture has no use for.
    #[error(
        "tensor `{name}` is not part of a {architecture:?} decoder, and answers without it would be wrong: the model is a variant this version does not run"
    )]
    UnknownTensor {
        /// Name in the file.
        name: String,
        /// What the model says it is.
        architecture: Architecture,
    },
    /// A tensor of the wrong shape.
    #[error(
        "tensor `{name}` is {found:?} (rows, columns), the config asks for {expected:?}: config and weights do not belong together"
    )]
    Shape {
        /// Name.
        name: String,
        /// Rows and columns by the config.
        expected: (usize, usize),
        /// Rows and columns found.
        found: (usize, usize),
    },
    /// The hub could not give the model.
    #[error("`{id}` is no file or folder here, and cannot be got from the Hugging Face hub: {message}")]
    Hub {
        /// Model id.
        id: String,
        /// What happened, and what to do.
        message: String,
    },
}

impl From<ConfigFileError> for LoadError {
    fn from(error: ConfigFileError) -> Self {
        match error {
            ConfigFileError::File(error) => Self::File(error),
            ConfigFileError::Config { path, error } => Self::Config { path, error },
        }
    }
}
