//! JSON files.

use super::{FileError, python_json};
use std::path::Path;

/// Reads a JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = std::fs::read(path).map_err(|error| FileError::Read { path: path.into(), error })?;
    python_json::from_slice(&text).map_err(|error| FileError::Json { path: path.into(), message: error.to_string() })
}
